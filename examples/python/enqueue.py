"""Inserts an order and submits its job in one transaction. It needs psycopg 3."""

import os

import psycopg
from psycopg.types.json import Jsonb


def order(conn: psycopg.Connection, item: str) -> str:
    """Inserts an order, and returns the id of the job that describes it."""
    (number,) = conn.execute("INSERT INTO orders (item) VALUES (%s) RETURNING id", (item,)).fetchone()
    (job,) = conn.execute(
        "SELECT oneflow.enqueue('text', %s, %s)",
        (Jsonb({"prompt": f"Describe a {item}", "max_tokens": 200}), f"order-{number}"),
    ).fetchone()
    conn.execute("UPDATE orders SET description_job = %s WHERE id = %s", (job, number))
    return job


with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as conn:
    conn.execute(
        "CREATE TABLE IF NOT EXISTS orders"
        " (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, item text NOT NULL, description_job uuid)"
    )
    with conn.transaction():
        job = order(conn, "lighthouse")

    # This order is not wanted after all, and nothing is sent for it.
    with conn.transaction():
        order(conn, "mistake")
        raise psycopg.Rollback()

    print(job)
