// Package chaos kills what OneFlow stands on, and holds what is left against an
// independent witness: built commands, real servers, a fake provider with a log of
// its own, and proxies that cut and silence. A minute of it runs with all tests;
// the whole suite has the build tag chaos (`make chaos`). It has no code of its own,
// and its tests may import everything but the commands.
package chaos
