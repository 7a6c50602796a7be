import { expect, test } from "vitest";
import type { Understood } from "../../lib/api/client";
import { EMPTY } from "../view";
import { conditions, joined, literally } from "./understood";

const CAR = { class: "car", color: "red" };
const READ: Understood = {
  parts: [
    { phrase: "more than 2 dogs", source: "detections", filter: { "count.dog": ">2" }, by: "eyes" },
    { phrase: "fewer than 5 dogs", source: "detections", filter: { "count.dog": "<5" }, by: "eyes" },
    { phrase: "red car", source: "detections", filter: { objects: CAR }, by: "eyes" },
  ],
  words: "at night",
  notes: [],
};

test("parts become one filter, as the address holds it", () => {
  expect(conditions(READ)).toEqual({ "count.dog": [">2", "<5"], objects: [JSON.stringify(CAR)] });
});

test("objects come beside others, another number takes the place of the first", () => {
  const before = { "count.dog": ["=1"], objects: ['{"class":"cat"}'], split: ["train"] };
  expect(joined(before, conditions(READ))).toEqual({
    "count.dog": [">2", "<5"],
    objects: ['{"class":"cat"}', JSON.stringify(CAR)],
    split: ["train"],
  });
  expect(joined({}, { brightness: ["<0.25"] })).toEqual({ brightness: ["<0.25"] });
});

test("the other reading takes out what was understood, and nothing else", () => {
  const said = "more than 2 dogs, fewer than 5 dogs, red car at night";
  const filter = joined({ objects: ['{"class":"cat"}'], split: ["train"] }, conditions(READ));
  expect(literally({ ...EMPTY, text: "at night", said, filter }, READ)).toEqual({
    text: said,
    said: "",
    literal: true,
    filter: { objects: ['{"class":"cat"}'], split: ["train"] },
    order: "",
    min: null,
  });
});
