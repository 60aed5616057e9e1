// Inserts an order and submits its job in one transaction. It needs pg.
import pg from "pg";

const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();

// transaction commits what work does, or nothing of it.
async function transaction(work) {
  await client.query("BEGIN");
  try {
    const result = await work();
    await client.query("COMMIT");
    return result;
  } catch (error) {
    await client.query("ROLLBACK");
    throw error;
  }
}

// order inserts an order, and returns the id of the job that describes it.
async function order(item) {
  const { rows: [{ id }] } = await client.query("INSERT INTO orders (item) VALUES ($1) RETURNING id", [item]);
  const { rows: [{ job }] } = await client.query("SELECT oneflow.enqueue('text', $1, $2) AS job", [
    { prompt: `Describe a ${item}`, max_tokens: 200 },
    `order-${id}`,
  ]);
  await client.query("UPDATE orders SET description_job = $1 WHERE id = $2", [job, id]);
  return job;
}

await client.query(
  "CREATE TABLE IF NOT EXISTS orders" +
    " (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL, description_job uuid)",
);
const job = await transaction(() => order("lighthouse"));

// This order is not wanted after all, and nothing is sent for it.
const unwanted = new Error("not wanted");
await transaction(async () => {
  await order("mistake");
  throw unwanted;
}).catch((error) => {
  if (error !== unwanted) throw error;
});

console.log(job);
await client.end();
