// A call, a stream, and a batch from its upload to its answers, by OpenAI's own client.
// OPENAI_BASE_URL and OPENAI_API_KEY say where the monitor is, and whom it knows you by.
import OpenAI, { toFile } from "openai";

const client = new OpenAI();
const model = "mock"; // any provider's, such as gpt-6-luna or anthropic/claude-haiku-5-5

const answer = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Say hello." }] });
console.log("call:", answer.choices[0].message.content !== null);

let words = "";
const stream = await client.chat.completions.create({ model, messages: [{ role: "user", content: "Say it again." }], stream: true });
for await (const chunk of stream) words += chunk.choices[0]?.delta?.content ?? "";
console.log("stream:", words !== "");

const rows = Array.from({ length: 20 }, (_, i) =>
  JSON.stringify({
    custom_id: `item-${i}`,
    method: "POST",
    url: "/v1/chat/completions",
    body: { model, messages: [{ role: "user", content: `Describe item ${i}.` }] },
  }),
);
const upload = await client.files.create({ file: await toFile(Buffer.from(rows.join("\n")), "items.jsonl"), purpose: "batch" });
let batch = await client.batches.create({ input_file_id: upload.id, endpoint: "/v1/chat/completions", completion_window: "24h" });
while (!["completed", "failed", "expired", "cancelled"].includes(batch.status)) {
  await new Promise((done) => setTimeout(done, 200));
  batch = await client.batches.retrieve(batch.id);
}
const answers = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n");
console.log("batch:", batch.status, answers.length);
