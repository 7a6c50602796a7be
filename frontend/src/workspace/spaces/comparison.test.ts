import { describe, expect, test } from "vitest";
import {
  doing,
  matrix,
  notes,
  samples,
  sampleSaid,
  standardError,
  table,
  toFetch,
  type Result,
} from "./comparison";

const one = {
  encoder: "starter",
  title: "Starter",
  output: "visual",
  dimension: 1280,
  license: "Apache-2.0",
  runtime: "OpenVINO",
  sampled: 500,
  failed: 0,
  knn_accuracy: 0.875,
  separation: 0.332,
  per_second: 280.4,
  hours: 0.5,
  others_share: 0.02,
  memory_bytes: 300 << 20,
  disk_bytes: 90 << 20,
};
const language = { ...one, output: "language", dimension: 384, knn_accuracy: 0.82, disk_bytes: 30 << 20 };
const slow = { ...one, encoder: "slow", title: "Slow", per_second: 4.25, hours: 2.25, separation: -0.1 };
const result: Result = {
  items: 34_475,
  sampled: 500,
  labeled: 480,
  classes: 12,
  is_told_by_labels: true,
  measured: [one, language, slow],
  problems: [],
  overlap: [{ one: "starter", other: "slow", share: 0.344 }],
};

describe("the table", () => {
  const [starter, other] = table(result);
  const texts = (cells: { text: string; isBest: boolean }[] = []) =>
    cells.map(({ text, isBest }) => (isBest ? `${text}!` : text));

  test("has a row for each output, and says once what is of the encoder", () => {
    expect(starter?.rows.map(({ one: { output } }) => output)).toEqual(["visual", "language"]);
    expect(starter?.cells.map(({ figure }) => figure.name)).toEqual([
      "Items a second",
      "Whole dataset",
      "Memory",
    ]);
  });
  test("marks the best of each figure and all that are as good, unless every one is", () => {
    expect(texts(starter?.rows[0]?.cells)).toEqual(["87.5 %!", "0.332!", "90.0 MB"]);
    expect(texts(starter?.rows[1]?.cells)).toEqual(["82.0 %", "0.332!", "30.0 MB!"]);
    expect(texts(other?.rows[0]?.cells)).toEqual(["87.5 %!", "−0.100", "90.0 MB"]);
    expect(texts(starter?.cells)).toEqual(["280!", "30 min!", "300.0 MB"]);
    expect(texts(other?.cells)).toEqual(["4.3", "2.3 h", "300.0 MB"]);
  });
  test("takes accuracies for equal that chance may have parted, and speeds for much alike", () => {
    const near = { ...slow, knn_accuracy: 0.885, per_second: 300, memory_bytes: 310 << 20 };
    const rows = (labeled: number) =>
      table({ ...result, labeled, measured: [one, language, near] }).map(
        ({ rows }) => texts(rows[0]?.cells)[0],
      );
    expect(rows(480)).toEqual(["87.5 %!", "88.5 %!"]);
    expect(rows(5000)).toEqual(["87.5 %", "88.5 %!"]);
    expect(texts(table({ ...result, measured: [one, near] })[1]?.cells)).toEqual([
      "300",
      "2.3 h",
      "310.0 MB",
    ]);
  });
  test("without labels has no accuracy, and no best one", () => {
    const unlabeled = { ...one, knn_accuracy: null, separation: null };
    const cells = table({ ...result, labeled: 0, measured: [unlabeled, { ...unlabeled, encoder: "b" }] })[0];
    expect(texts(cells?.rows[0]?.cells)).toEqual(["–", "–", "90.0 MB"]);
    expect(cells?.rows[0]?.cells[0]?.margin).toBe("");
  });
});

test("what chance makes of a share is more with few items, and something of a share of all", () => {
  expect(standardError(0.875, 480)).toBeCloseTo(0.0152, 3);
  expect(standardError(0.875, 60)).toBeCloseTo(0.0444, 3);
  expect(standardError(1, 60)).toBeCloseTo(0.0217, 3);
});

test("the sample is said", () => {
  expect(sampleSaid(result)).toBe("500 of 34,475 items, 480 labelled (12 classes)");
  expect(sampleSaid({ ...result, items: 500, labeled: 500, classes: 1 })).toBe(
    "All 500 items, all labelled (one class)",
  );
  expect(sampleSaid({ ...result, labeled: 0, classes: 0 })).toBe("500 of 34,475 items, none labelled");
});

test("sizes of a sample end with the whole dataset", () => {
  expect(samples(34_475)).toEqual({ sizes: [100, 250, 500, 1000, 2000], proposed: 500 });
  expect(samples(600)).toEqual({ sizes: [100, 250, 500, 1000], proposed: 500 });
  expect(samples(60)).toEqual({ sizes: [100], proposed: 100 });
  expect(samples(0)).toEqual({ sizes: [100], proposed: 100 });
});

describe("notes", () => {
  test("are none where everything is as it should be", () => {
    expect(notes(result)).toEqual([]);
    expect(notes({ ...result, measured: [] })).toEqual([]);
  });
  test("tell of labels that are missing, few, or of one class", () => {
    expect(notes({ ...result, labeled: 0, classes: 0 })[0]).toContain("Without labels");
    expect(notes({ ...result, labeled: 60, is_told_by_labels: false })[0]).toContain("may be chance");
    expect(notes({ ...result, classes: 1, is_told_by_labels: false })[0]).toContain("one class");
  });
  test("tell of what failed and of other work once for an encoder", () => {
    const failing = { ...result, measured: [one, language, slow].map((row) => ({ ...row, failed: 3 })) };
    expect(notes(failing)).toEqual([
      "Starter made no vector of 3 of 503 items.",
      "Slow made no vector of 3 of 503 items.",
    ]);
    const busy = { ...result, measured: [one, { ...slow, others_share: 0.45 }] };
    expect(notes(busy)).toEqual([
      "Other work took up to 45 % of the processors meanwhile: alone, the encoders are faster.",
    ]);
  });
});

test("what neighbours are in common is shown where labels do not tell", () => {
  expect(matrix(result)).toBeNull();
  const third = { ...slow, encoder: "third", title: "Third" };
  expect(matrix({ ...result, is_told_by_labels: false, measured: [one, language, slow, third] })).toEqual({
    columns: ["Starter", "Slow"],
    rows: [
      { title: "Slow", cells: ["34 %"] },
      { title: "Third", cells: ["–", "–"] },
    ],
  });
  expect(matrix({ ...result, is_told_by_labels: false, measured: [one, language] })).toBeNull();
});

test("what a comparison does is said", () => {
  const job = {
    state: "running" as const,
    phase: "compare",
    done: 1,
    total: 2,
    eta_s: null,
    encoders: ["a", "b"],
  };
  expect(doing(job)).toBe("Trying 2 of 2: b");
  expect(doing({ ...job, done: 2 })).toBe("Trying 2 of 2: b");
  expect(doing({ ...job, state: "queued" })).toContain("Waiting");
  expect(doing({ ...job, phase: "prepare", done: 12 << 20, total: 340 << 20, eta_s: 40 })).toBe(
    "Fetching 12.0 MB of 340.0 MB · 40 s left",
  );
});

test("what is to be fetched is said before", () => {
  expect(toFetch([{ is_here: true, megabytes: 0 }])).toBe("");
  expect(
    toFetch([
      { is_here: false, megabytes: 1500 },
      { is_here: false, megabytes: 346 },
    ]),
  ).toBe("1,846 MB are fetched first.");
  expect(toFetch([{ is_here: false, megabytes: null }])).toBe("Weights that are not here are fetched first.");
});
