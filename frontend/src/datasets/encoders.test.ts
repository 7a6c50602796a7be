import { expect, test } from "vitest";
import { traits, understands } from "./encoders";

test("an encoder is told by what it understands, its size and its licence", () => {
  const outputs = [
    { name: "visual", dimension: 1280, accepts: ["image"] },
    { name: "language", dimension: 384, accepts: ["text", "image"] },
  ];
  expect(traits({ outputs, license: "Apache-2.0" })).toBe(
    "Understands pictures and words · 1,280 and 384 dimensions · Apache-2.0",
  );
  expect(understands(["text"])).toBe("words");
});

test("one that is to be fetched says that it is not known yet", () => {
  expect(traits({ outputs: [], license: "" })).toBe("What it understands is known once it is fetched");
});
