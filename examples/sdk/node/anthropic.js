// A call, a stream, and a batch of messages with its results, by Anthropic's own client.
// ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY say where the monitor is, and whom it knows you by.
import Anthropic from "@anthropic-ai/sdk";

const client = new Anthropic();
const model = "mock"; // any provider's, such as claude-haiku-5-5 or openai/gpt-6-luna
const ask = (content) => ({ model, max_tokens: 200, messages: [{ role: "user", content }] });

const answer = await client.messages.create(ask("Say hello."));
console.log("call:", answer.content[0].text !== "");

let words = "";
for await (const event of await client.messages.create({ ...ask("Say it again."), stream: true })) {
  if (event.type === "content_block_delta") words += event.delta.text ?? "";
}
console.log("stream:", words !== "");

const requests = Array.from({ length: 20 }, (_, i) => ({ custom_id: `item-${i}`, params: ask(`Describe item ${i}.`) }));
let batch = await client.messages.batches.create({ requests });
while (batch.processing_status !== "ended") {
  await new Promise((done) => setTimeout(done, 200));
  batch = await client.messages.batches.retrieve(batch.id);
}
let succeeded = 0;
for await (const line of await client.messages.batches.results(batch.id)) {
  if (line.result.type === "succeeded") succeeded++;
}
console.log("batch:", batch.processing_status, succeeded);
