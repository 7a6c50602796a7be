// What is typed into the search bar: words, `key:value` filters (`label:"stop sign"`, `split:train`, `unlabeled`), and
// numbers of objects that a detector saw (`person>2`, `"traffic light"=0`).
import type { FilterValues } from "../view";

const KEYS = new Set([
  "label", "not_label", "status", "split", "tag", "duplicates", "source", "annotator", "brightness", "sharpness", "contrast", "width",
  "height", "aspect", "created_after", "text_contains", "key_contains", "min_confidence", "max_confidence", "objects",
]); // prettier-ignore

const COUNT = /(?:"([^"]+)"|([\p{L}_-]+))(>=|<=|>|<|=)(\d+)(?!\S)/u.source;
const TOKEN = new RegExp(`${COUNT}|(-?)([\\w.]+):(?:"([^"]*)"|(\\S+))|"([^"]*)"|\\S+`, "gu");

export interface Typed {
  words: string;
  filter: FilterValues;
}

export function parse(typed: string): Typed {
  const words: string[] = [];
  const filter: FilterValues = {};
  const add = (key: string, value: string) => (filter[key] ??= []).push(value);
  for (const match of typed.matchAll(TOKEN)) {
    const [token, quotedClass, plainClass, sign, number, minus, key, quoted, plain, phrase] = match;
    const value = quoted ?? plain ?? "";
    if (number) add(`count.${quotedClass ?? plainClass}`, sign + number);
    else if (token === "unlabeled" || token === "label:unlabeled") add("unlabeled", "true");
    else if (token === "unlabeled:false") add("unlabeled", "false");
    else if (key === "label" && minus) add("not_label", value);
    else if (
      key &&
      !minus &&
      value &&
      (KEYS.has(key) || key.startsWith("metadata.") || key.startsWith("color."))
    )
      add(key, value);
    else words.push(phrase ?? token);
  }
  return { words: words.join(" "), filter };
}
