import { expect, test } from "vitest";
import { batches, foldersAreLabels, proposal, type Picked } from "./upload";

const picked = (path: string, size = 1): Picked => ({ path, file: { size, name: path } as File });

test("batches hold up to 100 files", () => {
  const all = Array.from({ length: 250 }, (_, i) => picked(`${i}.jpg`));
  expect(batches(all).map((batch) => batch.length)).toEqual([100, 100, 50]);
  expect(batches(all).flat()).toEqual(all);
});

test("batches hold up to 64 MB, and a larger file goes alone", () => {
  const sizes = [40, 20, 10, 300, 1].map((mb, i) => picked(`${i}.jpg`, mb * 2 ** 20));
  expect(batches(sizes).map((batch) => batch.length)).toEqual([2, 1, 1, 1]);
});

test("folders are labels when there are at least two", () => {
  expect(foldersAreLabels(["a/1.jpg", "b/2.jpg"])).toBe(true);
  expect(foldersAreLabels(["photos/1.jpg", "photos/2.jpg"])).toBe(false);
  expect(foldersAreLabels(["train/cat/1.jpg", "test/cat/2.jpg"])).toBe(false);
});

test("a new dataset is named after the folder, the table or nothing", () => {
  expect(proposal([picked("street/1.jpg")])).toEqual({ name: "street", modality: "image" });
  expect(proposal([picked("questions.csv")])).toEqual({ name: "questions", modality: "text" });
  expect(proposal([picked("1.jpg"), picked("2.jpg")])).toEqual({ name: "my images", modality: "image" });
});
