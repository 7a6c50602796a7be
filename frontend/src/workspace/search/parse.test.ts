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

test("what must not be has a minus", () => {
  expect(parse('-tag:night -split:train -status:done -label:"stop sign" -unlabeled').filter).toEqual({
    not_tag: ["night"],
    not_split: ["train"],
    not_status: ["done"],
    not_label: ["stop sign"],
    unlabeled: ["false"],
  });
  expect(parse("-label:unlabeled").filter).toEqual({ unlabeled: ["false"] });
  expect(parse("-brightness:>0.5 -night").words).toBe("-brightness:>0.5 -night");
});

test("what models said is a filter", () => {
  expect(parse("predicted:cat max_confidence:0.5 model:judge disagrees").filter).toEqual({
    predicted: ["cat"],
    max_confidence: ["0.5"],
    model: ["judge"],
    disagrees: ["true"],
  });
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

test("a phrase keeps its quotes where texts are searched", () => {
  expect(parse('"lost card" -stolen split:train', true)).toEqual({
    words: '"lost card" -stolen',
    filter: { split: ["train"] },
  });
  expect(parse('"lost card"').words).toBe("lost card");
});
