// What can be said to a finding of each kind, and how what was said reads afterwards.
import type { Finding } from "../lib/api/client";
import type { Verdict } from "./queue.svelte";

/** Rank and id of a finding: its place in the queue. */
export type Place = readonly [number, number];
export const NOTHING_SAID: Place = [0, 0];

export interface Said {
  text: string;
  place: Place;
  operation: number | null;
  item: number;
  /** Labels that the item had: others may have them for the same mistake. */
  given: string[];
}

/** A choice: its key, as `KeyboardEvent.key`, and what it says. */
export interface Choice {
  key: string;
  shown: string;
  text: string;
  verdict: Verdict;
}

type Judged = Pick<Finding, "kind" | "suggested_label" | "suggested_label_id" | "item">;

const EXCLUDE: Choice = {
  key: "x",
  shown: "X",
  text: "Exclude",
  verdict: { state: "confirmed", exclude: true },
};
const DUPLICATE: Choice = {
  key: "d",
  shown: "D",
  text: "Duplicate",
  verdict: { state: "confirmed", duplicate: true },
};

export const labelsOf = ({ item }: Pick<Finding, "item">): string[] =>
  item.labels.filter((one) => !one.region).map((one) => one.label);

/** The first is the one that is likely. */
export function choicesOf(finding: Judged): Choice[] {
  const given = labelsOf(finding).join(" and ");
  const keep = (text: string): Choice => ({
    key: "k",
    shown: "K",
    text,
    verdict: { state: "dismissed" },
  });
  if (finding.suggested_label_id !== null)
    return [
      {
        key: "Enter",
        shown: "Enter",
        text: `It is ${finding.suggested_label}`,
        verdict: { state: "confirmed", label: finding.suggested_label_id },
      },
      keep(given ? `Keep ${given}` : "Keep"),
      EXCLUDE,
      DUPLICATE,
    ];
  if (finding.kind === "duplicate" || finding.kind === "leak")
    return [
      { ...DUPLICATE, key: "Enter", shown: "Enter", text: "Duplicate: exclude it" },
      keep("Keep both"),
      { ...EXCLUDE, text: "Exclude, no duplicate" },
    ];
  return [
    { ...EXCLUDE, key: "Enter", shown: "Enter", text: "Exclude it" },
    keep("Keep it, it is fine"),
    { key: "c", shown: "C", text: "True, but keep it", verdict: { state: "confirmed" } },
    DUPLICATE,
  ];
}

/** “cup_3.jpg: cup, not watch”. */
export function pastOf(
  finding: Finding,
  verdict: Verdict,
  label: string,
  operation: number | null,
  number = 1,
): Said {
  const given = labelsOf(finding);
  const what = number === 1 ? finding.item.key : `${number} items`;
  const how =
    verdict.state === "dismissed"
      ? "kept"
      : verdict.duplicate
        ? "excluded as duplicate"
        : verdict.exclude
          ? "excluded"
          : label
            ? `${label}${given.length ? `, not ${given.join(" and ")}` : ""}`
            : "confirmed";
  return {
    text: `${what}: ${how}`,
    place: [finding.rank, finding.id],
    operation,
    item: finding.item.id,
    given,
  };
}

/** Where items with the same mistake may be: near this one, with the same labels. */
export function alikeAddress(dataset: number, { item, given }: Pick<Said, "item" | "given">): string {
  const query = new URLSearchParams({ like: String(item) });
  for (const label of given) query.append("label", label);
  return `/datasets/${dataset}?${query}`;
}
