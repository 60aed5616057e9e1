package config_test

import (
	"slices"
	"strings"
	"testing"

	"oneflow/config"
)

func TestADeploymentIsTheProviderAtAnotherPlace(t *testing.T) {
	t.Parallel()
	c := parse(t, `
providers:
  azure:
    api_version: 2024-10-21
    deployments:
      east: {base_url: "https://east.openai.azure.com", deployment: luna-a, limits: {rpm: 600}}
      west: {base_url: "https://west.openai.azure.com", deployment: luna-b, api_version: 2025-01-01}
  vllm:
    deployments: {one: {}, two: {base_url: "http://gpu2:8000/v1"}}
`)
	azure, vllm := c.Providers["azure"], c.Providers["vllm"]
	for got, want := range map[string]string{
		azure.At("east").Address():               "https://east.openai.azure.com/openai/deployments/luna-a?api-version=2024-10-21",
		azure.At("west").Address():               "https://west.openai.azure.com/openai/deployments/luna-b?api-version=2025-01-01",
		azure.At("west").KeyHeader:               "api-key",
		vllm.At("one").Address():                 "http://localhost:8000/v1",
		vllm.At("two").Address():                 "http://gpu2:8000/v1",
		vllm.At("").Address():                    "http://localhost:8000/v1",
		azure.CalledAt():                         "", // which of them answers is no part of what a job is
		azure.PriceRows("azure"):                 "openai",
		vllm.At("two").DefaultModel("text", "m"): "m",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := azure.DeploymentNames(); !slices.Equal(got, []string{"east", "west"}) || azure.AtVendor() || !c.Providers["openai"].AtVendor() {
		t.Errorf("deployments %v", got)
	}
	if rpm := azure.Deployments["east"].Limits.RPM; rpm == nil || *rpm != 600 {
		t.Errorf("%+v", azure.Deployments["east"].Limits)
	}
	names := c.KeyNames()
	for _, name := range []string{"azure", "azure-east", "azure-west", "vllm-one"} {
		if provider, deployment, ok := c.ForKeys(name); !ok || !slices.Contains(names, name) || config.KeysOf(provider, deployment)[0] != name {
			t.Errorf("%s: %s, %s, %t in %v", name, provider, deployment, ok, names)
		}
	}
	if _, _, ok := c.ForKeys("azure-north"); ok {
		t.Error("keys have a place for a deployment that is not there")
	}
}

func TestADeploymentThatCannotBeCalledIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"vllm: {deployments: {}}":          "providers.vllm.deployments: names none",
		"azure: {deployments: {east: {}}}": "providers.azure.deployments.east.base_url: is missing",
		"azure: {deployments: {east: {base_url: \"https://a.b\", deployment: d}}}":     "providers.azure.deployments.east.api_version: is missing",
		"azure: {deployments: {east: {base_url: \"nonsense\"}}}":                       "providers.azure.deployments.east.base_url: must be an address",
		"azure: {deployments: {East: {base_url: \"https://a.b\"}}}":                    `deployments: "East": a name has small letters`,
		"azure: {deployments: {e: {base_url: \"https://a.b\", limits: {rpm: -1}}}}":    "providers.azure.deployments.e.limits.rpm: must be positive",
		"azure: {deployments: {e: {base_url: \"https://a.b\", limit: {rpm: 1}}}}":      "unknown field",
		"openai: {deployments: {a: {}, b: {base_url: \"https://api.openai.com/v1\"}}}": "deployments.b: is at the address of a, which counts both together",
		"openai: {deployments: {a: {deployment: d, api_version: v}}}":                  "deployments.a.deployment, api_version: are only for the preset azure",
		"mock: {deployments: {a: {}}}":                                                 "deployments: are not for kind mock",
		"vllm: {deployments: {a: {}}}\n  vllm-a: {preset: vllm}":                       "which is a provider's name",
		"openrouter: {deployments: {a-very-long-name-for-a-place: {}}}":                "has more than 30 characters",
	} {
		_, err := config.Parse([]byte("providers:\n  "+text+"\n"), "f.yaml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
