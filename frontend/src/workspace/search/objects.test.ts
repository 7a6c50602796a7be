import { expect, test } from "vitest";
import { parse } from "./parse";
import { objectsText, objectsTyped } from "./objects";

const said = (one: object) => JSON.stringify({ class: "car", ...one });

test("a chip says what is meant", () => {
  expect(objectsText(said({ color: "red", position: "left" }))).toBe("red car, left, ≥1");
  expect(objectsText(said({ count: ">2", size: "<0.02" }))).toBe("car, small, more than 2");
  expect(objectsText(said({ count: [">=2", "<5"], arrangement: "side by side" }))).toBe(
    "car, side by side, ≥2 and fewer than 5",
  );
  expect(objectsText(said({ count: "2..4", color: { red: ">0.5" }, size: ">0.3", score: 0.6 }))).toBe(
    "red >0.5 car, size >0.3, 2 to 4, score ≥0.6",
  );
  expect(objectsText(said({ count: 0 }))).toBe("car, 0");
});

test("what is no condition on objects is shown as it is", () => {
  for (const value of ["{", "null", "[]", '{"class":3}']) expect(objectsText(value)).toBe(value);
});

test("a chip becomes the words for it", () => {
  expect(objectsTyped(said({ color: "red", position: "bottom right" }))).toBe("red car on the bottom right");
  expect(objectsTyped(said({ count: "=2", arrangement: "side by side" }))).toBe("exactly 2 car side by side");
  expect(objectsTyped(said({ count: "2..3", color: { red: ">0.5" }, position: "center" }))).toBe(
    "between 2 and 3 mostly red car in the center",
  );
  expect(objectsTyped(said({ size: ">0.5" }))).toBe("car filling the frame");
});

test("what has no words is typed as it stands in the address, and read again", () => {
  for (const one of [{ size: ">0.3" }, { score: 0.6 }, { color: { red: ">0.1" } }, { count: [">1", "<4"] }]) {
    const value = JSON.stringify({ class: "traffic light", ...one });
    const typed = objectsTyped(value);
    expect(typed).not.toContain(" ");
    const { words, filter } = parse(typed);
    expect(words).toBe("");
    expect(JSON.parse(filter.objects![0]!)).toEqual(JSON.parse(value));
  }
});
