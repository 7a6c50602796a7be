import { describe, expect, test } from "vitest";
import type { Space } from "../../lib/api/client";
import { byEncoder, coverage, leftOut, progress } from "./coverage";

const counts = { embedded: 34_330, total: 34_475, pending: 0, failed: 145, job: null };

describe("coverage", () => {
  test("says how many of how many, and how many failed", () => {
    expect(coverage(counts, 0)).toBe("34,330 of 34,475 embedded · 145 failed");
  });
  test("tells those that wait from those that nobody asked for", () => {
    const some = { embedded: 10, total: 20, pending: 4, failed: 1, job: null };
    expect(coverage(some, 2)).toBe("10 of 20 embedded · 4 waiting · 1 failed · 2 unreadable · 3 left out");
    expect(leftOut({ ...some, embedded: 20 }, 2)).toBe(0);
    expect(leftOut({ ...some, job: 7 }, 2)).toBe(0);
  });
  test("of an empty dataset is none", () => {
    expect(coverage({ embedded: 0, total: 0, pending: 0, failed: 0, job: null }, 0)).toBe("No items yet");
  });
});

describe("progress", () => {
  const job = { state: "running" as const, phase: "embed", done: 10, total: 20, rate: 312.4, eta_s: 40 };
  test("of embedding is a rate and a time", () => {
    expect(progress(job)).toBe("Embedding · 312/s · 40 s left");
    expect(progress({ ...job, rate: null, eta_s: null })).toBe("Embedding");
  });
  test("of a download is in bytes", () => {
    expect(progress({ ...job, phase: "prepare", done: 12 << 20, total: 340 << 20, rate: 2 << 20 })).toBe(
      "Fetching 12.0 MB of 340.0 MB · 2.0 MB/s · 40 s left",
    );
  });
  test("of a job that nobody is at yet says so", () => {
    expect(progress({ ...job, state: "queued" })).toBe("Waiting for a worker");
  });
});

test("spaces of one encoder stand together, in their order", () => {
  const space = (id: number, encoder: string) => ({ id, encoder }) as Space;
  expect(
    byEncoder([space(1, "a"), space(2, "b"), space(3, "a")]).map(({ encoder, spaces }) => [
      encoder,
      spaces.map(({ id }) => id),
    ]),
  ).toEqual([
    ["a", [1, 3]],
    ["b", [2]],
  ]);
});
