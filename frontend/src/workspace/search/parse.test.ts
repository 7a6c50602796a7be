import { expect, test } from "vitest";
import { parse } from "./parse";

test("words stay words", () => expect(parse(" a red  car ")).toEqual({ words: "a red car", filter: {} }));

test("filters are taken out of the words", () => {
  expect(parse('stop sign split:train label:"grand piano" -label:cup')).toEqual({
    words: "stop sign",
    filter: { split: ["train"], label: ["grand piano"], not_label: ["cup"] },
  });
});

test("unlabeled is a filter in both spellings", () => {
  expect(parse("unlabeled").filter).toEqual({ unlabeled: ["true"] });
  expect(parse("unlabeled:false").filter).toEqual({ unlabeled: ["false"] });
  expect(parse("label:unlabeled").filter).toEqual({ unlabeled: ["true"] });
});

test("metadata and measures are filters", () => {
  expect(parse("metadata.camera:cam-3 brightness:>0.5")).toEqual({
    words: "",
    filter: { "metadata.camera": ["cam-3"], brightness: [">0.5"] },
  });
});

test("numbers of objects are filters", () => {
  expect(parse('street person>2 "traffic light"=0 Köpfe<=10 split:train')).toEqual({
    words: "street",
    filter: {
      "count.person": [">2"],
      "count.traffic light": ["=0"],
      "count.Köpfe": ["<=10"],
      split: ["train"],
    },
  });
  expect(parse("a>b x=1.5 >2").words).toBe("a>b x=1.5 >2");
});

test("what looks like a filter and is none stays a word", () => {
  expect(parse("time 10:30 http://x.org")).toEqual({ words: "time 10:30 http://x.org", filter: {} });
});
