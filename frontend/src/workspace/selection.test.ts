import { expect, test } from "vitest";
import { UNCALIBRATED, type Order } from "../lib/api/binary";
import { countAbove, Selection } from "./selection.svelte";
import { EMPTY } from "./view";

const order: Order = {
  ids: Uint32Array.of(10, 11, 12, 13),
  scores: Float32Array.of(1, 0.75, 0.5, 0.25),
  regions: null,
  total: 4,
  embedded: 4,
  isExact: true,
  tookMs: 1,
  image: "",
  matched: null,
  isBeginning: false,
  calibration: UNCALIBRATED,
};
const score = (id: number) => order.scores![order.ids.indexOf(id)]!;
const searched = { ...EMPTY, like: [10] };

test("positions at or above a score are counted", () => {
  expect([2, 0.75, 0.6, 0.25, -1, null].map((cut) => countAbove(order, cut))).toEqual([0, 2, 2, 4, 4, 4]);
});

test("items are selected one by one", () => {
  const selection = new Selection();
  selection.toggle(11, null);
  selection.toggle(13, null);
  selection.toggle(11, null);
  expect([selection.list(), selection.toBody()]).toEqual([[13], { ids: [13] }]);
});

test("all above a score is said as a query, not as ids", () => {
  const selection = new Selection();
  selection.selectAll(searched, order, 0.5);
  expect(selection.count).toBe(3);
  expect(selection.has(13, score(13))).toBe(false);
  expect(selection.toBody()).toEqual({ query: { like: [10] }, min_score: 0.5 });
});

test("one taken out of all is an exception", () => {
  const selection = new Selection();
  selection.selectAll(searched, order, null);
  selection.toggle(12, score(12));
  expect([selection.count, selection.list(), selection.toBody()]).toEqual([
    3,
    [10, 11, 13],
    { query: { like: [10] }, except: [12] },
  ]);
  selection.toggle(12, score(12));
  expect(selection.count).toBe(4);
});

test("one from below the cut turns all above into a list", () => {
  const selection = new Selection();
  selection.selectAll(searched, order, 0.5);
  selection.toggle(13, score(13));
  expect(selection.toBody()).toEqual({ ids: [10, 11, 12, 13] });
});

test("all of a filter and all of the dataset are said so", () => {
  const selection = new Selection();
  selection.selectAll({ ...EMPTY, filter: { split: ["train"] } }, { ...order, scores: null }, null);
  expect(selection.toBody()).toEqual({ filter: { split: "train" } });
  selection.selectAll(EMPTY, { ...order, scores: null }, null);
  expect(selection.toBody()).toEqual({ all: true });
});

test("the regions that were found in selected items are meant by their ids", () => {
  const found = { ...order, regions: Uint32Array.of(7, 0, 8, 9) };
  const selection = new Selection();
  selection.set([10, 11, 13]);
  expect(selection.regionsIn(found)).toEqual({ count: 2, body: { region_ids: [7, 9] } });
  expect(selection.regionsIn(order).count).toBe(0);
});

test("the regions of all found are meant by the query", () => {
  const found = { ...order, regions: Uint32Array.of(7, 0, 8, 9) };
  const selection = new Selection();
  selection.selectAll({ ...EMPTY, like: [{ item: 10, region: 5 }] }, found, null);
  selection.toggle(12, found.scores![2]!);
  expect(selection.regionsIn(order)).toEqual({
    count: 2,
    body: { query: { like: [{ item: 10, region: 5 }] }, regions: true, except: [12] },
  });
});
