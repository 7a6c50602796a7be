import { describe, expect, test } from "vitest";
import type { Job, Layer, LayerCost } from "../../lib/api/client";
import { costOf, coverage, detailsOf, doing, nameOf, removal, tilesOf, wordsOf } from "./layers";

const tiles: Layer = {
  id: 1,
  kind: "tile",
  detector: "",
  title: "",
  encoder: "starter",
  params: { scales: [2, 3], overlap: 0.25 },
  state: "ready",
  problem: "",
  job: 7,
  pending: 0,
  failed: 0,
  created_at: "2026-01-01T00:00:00Z",
};
const detected: Layer = {
  ...tiles,
  kind: "detected",
  detector: "starter",
  title: "Starter for people",
  params: { threshold: 0.25, most_regions: 20, words: [] },
};

test("each kind is named and described plainly", () => {
  expect([nameOf(tiles), detailsOf(tiles)]).toEqual([
    "Tiles",
    "2 × 2 and 3 × 3 over every picture, overlapping by a quarter",
  ]);
  expect(detailsOf({ ...tiles, params: { scales: [4], overlap: 0 } })).toBe(
    "4 × 4 over every picture, side by side",
  );
  expect([nameOf(detected), detailsOf(detected)]).toEqual([
    "Starter for people",
    "Boxes with a score of 0.25 or more",
  ]);
  expect(detailsOf({ ...detected, params: { threshold: 0.4, words: ["cat", "fire engine"] } })).toBe(
    "Boxes with a score of 0.40 or more of “cat” and “fire engine”",
  );
  expect(nameOf({ ...tiles, kind: "drawn", params: {} })).toBe("Drawn by people");
});

test("what its job does is told with how far it is", () => {
  const job = { state: "running", phase: "regions", done: 120, total: 579, rate: 12, eta_s: 38 } as Job;
  expect(doing(job)).toBe("Making regions · 120 of 579 · 12/s · 38 s left");
  expect(doing({ ...job, state: "queued" })).toBe("Waiting for a worker");
  expect(doing({ ...job, phase: "prepare", done: 1 << 20, total: 2 << 20, rate: null })).toBe(
    "Fetching 1.0 MB of 2.0 MB · 38 s left",
  );
});

describe("coverage", () => {
  const pictures = { total: 579, unreadable: 2 };
  test("counts pictures, and regions where they follow from them", () => {
    expect(coverage(tiles, pictures)).toBe("577 of 579 pictures · 7,501 regions");
    expect(coverage({ ...detected, failed: 7 }, pictures)).toBe("570 of 579 pictures · 7 failed");
  });
  test("says nothing of pictures while it is being made: its job does", () => {
    expect(coverage({ ...tiles, state: "preparing", pending: 12, failed: 1 }, pictures)).toBe(
      "12 waiting · 1 failed",
    );
    expect(coverage({ ...tiles, state: "preparing", pending: 12, failed: 1 }, pictures, true)).toBe(
      "1 failed",
    );
  });
});

describe("cost", () => {
  const cost: LayerCost = {
    items: 579,
    regions: 7527,
    is_exact: true,
    predictions: 0,
    vectors: 15054,
    size_bytes: 30 << 20,
    seconds: 44,
    sampled: 16,
    megabytes: 0,
  };
  test("of tiles is exact in what there will be", () => {
    expect(costOf(cost, null)).toEqual([
      ["Regions", "7,527 in 579 pictures"],
      ["Vectors", "15,054"],
      ["Disk", "about 30.0 MB"],
      ["Time", "about 44 s"],
    ]);
  });
  test("of drawn regions is nothing before there are any", () => {
    const none = { ...cost, items: 0, regions: 0, vectors: 0, size_bytes: 0, seconds: 0 };
    expect(costOf(none, null)).toEqual([["Regions", "none yet"]]);
  });
  test("of a detector that is not here says what can be known", () => {
    const nothing = { regions: null, predictions: null, vectors: null, size_bytes: null, seconds: null };
    const away = { ...cost, ...nothing, is_exact: false, sampled: 0, megabytes: 81 };
    expect(costOf(away, 4)).toEqual([
      ["Fetched first", "81 MB"],
      ["Regions", "told once it is fetched, for 579 pictures"],
      ["Time", "about 2 min to look at them"],
    ]);
    expect(costOf({ ...away, megabytes: null }, null)[0]).toEqual(["Fetched first", "its weights"]);
  });
});

test("removing says what goes and what stays", () => {
  expect(removal(tiles)).not.toContain("detector");
  expect(removal(detected)).toContain("what the detector said");
  expect(removal({ kind: "drawn" })).toContain("The regions themselves stay");
});

test("words are split at commas and lines, each once", () => {
  expect(wordsOf(" cat, fire engine\ncat,, ")).toEqual(["cat", "fire engine"]);
  expect(tilesOf([2, 3, 4])).toBe(29);
});
