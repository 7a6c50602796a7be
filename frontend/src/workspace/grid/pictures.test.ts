import { expect, test } from "vitest";
import { parts } from "./pictures";

test("an answer with many pictures is taken apart, and holds nothing where an item has none", () => {
  const { buffer } = Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 10, 11, 20, 21, 22);
  expect(parts(buffer, 3).map((part) => part && [...part])).toEqual([[10, 11], null, [20, 21, 22]]);
});
