import { expect, test } from "vitest";
import * as g from "./geometry";

const plain = g.tiles(10, 4 * 100 + 3 * g.GAP, 100, Infinity);
const cut = g.tiles(10, 4 * 100 + 3 * g.GAP, 100, 6);

test("tiles fill the width", () => {
  expect([plain.columns, plain.tileWidth]).toEqual([4, 100]);
  expect(g.tiles(5, 30, 100, Infinity).columns).toBe(1);
});

test("a cut starts a new row below a line", () => {
  expect([g.rowCount(plain), g.rowCount(cut)]).toEqual([3, 3]);
  expect([g.rowOf(cut, 5), g.rowOf(cut, 6), g.columnOf(cut, 6)]).toEqual([1, 2, 0]);
  expect(g.positionsOfRow(cut, 1)).toEqual([4, 6]);
  expect(g.positionsOfRow(cut, 2)).toEqual([6, 10]);
  expect(g.topOfRow(cut, 2)).toBeGreaterThan(2 * cut.pitchY);
});

test("every position is in exactly one row", () => {
  for (const layout of [plain, cut, g.tiles(1, 500, 100, 0), g.rows(7, 500, 38, 3)]) {
    const seen = Array.from({ length: g.rowCount(layout) }, (_, row) =>
      g.positionsOfRow(layout, row),
    ).flatMap(([a, b]) => Array.from({ length: b - a }, (_, i) => a + i));
    expect(seen).toEqual(Array.from({ length: layout.count }, (_, i) => i));
  }
});

test("what can be seen is found from the height", () => {
  expect(g.positionsBetween(plain, 0, 50)).toEqual([0, 4]);
  expect(g.positionsBetween(plain, 110, 250)).toEqual([4, 10]);
  expect(g.positionsBetween(g.tiles(0, 400, 100, Infinity), 0, 500)).toEqual([0, 0]);
});

test("a rectangle finds the tiles that it touches", () => {
  expect(g.positionsIn(plain, 90, 10, 120, 120)).toEqual([0, 1, 4, 5]);
  expect(g.positionsIn(plain, 102, 0, 104, 50)).toEqual([]);
});

test("arrows stay inside, also across the line", () => {
  expect(g.moved(cut, 5, "down")).toBe(7);
  expect(g.moved(cut, 9, "up")).toBe(5);
  expect(g.moved(plain, 0, "left")).toBe(0);
  expect(g.moved(plain, 9, "down")).toBe(9);
});

test("a million rows scroll to their very end", () => {
  const scroll = new g.Scroll(155 * 1_000_000, 800);
  expect(scroll.toContent(scroll.height - 800)).toBeCloseTo(155 * 1_000_000 - 800, 3);
  expect(scroll.toScroll(scroll.toContent(12_345))).toBeCloseTo(12_345, 6);
});
