// Filters that no item can pass together, as far as their words alone tell.
import { chipText, type FilterValues } from "../view";

/** What an item without a label cannot have. */
const OF_LABELS = ["label", "source", "annotator", "min_confidence", "max_confidence", "disagrees"];
const NEGATABLE = ["label", "tag", "split", "status"];

/** Pairs of chips, in the words of the chips. */
export function contradictions(filter: FilterValues): [string, string][] {
  const found: [string, string][] = [];
  const isOn = (key: string, value: string) => filter[key]?.includes(value) ?? false;
  const chips = (key: string) => (filter[key] ?? []).map((value) => chipText(key, value)).join(" or ");
  for (const key of OF_LABELS) {
    if (!filter[key] || !isOn("unlabeled", "true")) continue;
    if (key === "label" && isOn("label", "unlabeled")) continue;
    if (key === "disagrees" && !isOn("disagrees", "true")) continue;
    if (key.endsWith("_confidence") && filter.predicted) continue;
    found.push([chips("unlabeled"), chips(key)]);
  }
  for (const key of NEGATABLE) {
    const refused = filter[`not_${key}`] ?? [];
    const wanted = filter[key] ?? [];
    if (wanted.length && wanted.every((value) => refused.includes(value)))
      found.push([chips(key), chips(`not_${key}`)]);
  }
  return found;
}
