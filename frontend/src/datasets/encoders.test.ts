import { expect, test } from "vitest";
import { traits, understands } from "./encoders";

const here = { license: "Apache-2.0", is_here: true, megabytes: 0, per_second: null };

test("an encoder is told by what it understands, its size and its licence", () => {
  const outputs = [
    { name: "visual", dimension: 1280, accepts: ["image"] },
    { name: "language", dimension: 384, accepts: ["text", "image"] },
  ];
  expect(traits({ ...here, outputs, dimensions: [1280, 384] })).toBe(
    "Understands pictures and words · 1,280 and 384 dimensions · Apache-2.0",
  );
  expect(understands(["text"])).toBe("words");
});

test("one that is to be fetched says how much that is, and how fast it would be", () => {
  const away = {
    outputs: [],
    dimensions: [768],
    license: "MIT",
    is_here: false,
    megabytes: 1500,
    per_second: 12.4,
  };
  expect(traits(away)).toBe("768 dimensions · MIT · 1.5 GB to fetch · about 12 a second here");
  expect(traits({ ...away, dimensions: [], license: "", megabytes: null, per_second: null })).toBe(
    "to be fetched",
  );
});
