import { expect, test } from "vitest";
import { marked } from "./words";

const found = (text: string, query: string) =>
  marked(text, query)
    .filter((part) => part.isFound)
    .map((part) => part.text);

test("words are found at the beginning of words, in any case", () => {
  expect(found("The Machine kept my card. Machines do.", "machine card")).toEqual([
    "Machine",
    "card",
    "Machines",
  ]);
});

test("a word inside another is not marked", () => {
  expect(found("discard", "card")).toEqual([]);
});

test("nothing is lost", () => {
  const text = "Größe: 3 Karten (alte)";
  expect(
    marked(text, "karten größe")
      .map((part) => part.text)
      .join(""),
  ).toBe(text);
});

test("characters of a pattern mean themselves", () => {
  expect(marked("a(b", "a(b .* [x")).toEqual([{ text: "a(b", isFound: false }]);
});

test("a phrase is found as a whole, and what is to be absent is not marked", () => {
  const text = "The lost, card was lost by card holders";
  expect(found(text, '"lost card"')).toEqual(["lost, card"]);
  expect(found(text, '"by card" -lost -"card holders"')).toEqual(["by card"]);
  expect(found("lost cards", '"lost card"')).toEqual([]);
});
