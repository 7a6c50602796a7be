// Conditions on objects as chips show them, and as they are typed: `{"class":"car","color":"red","position":"left"}` reads
// “red car, left, ≥1”, and is typed “red car on the left”.

interface Objects {
  class: string;
  count?: string | number | (string | number)[];
  position?: string;
  size?: string;
  color?: string | Record<string, string>;
  arrangement?: string;
  score?: number;
}

const SIGNS: Record<string, string> = {
  ">=": "≥",
  "<=": "≤",
  ">": "more than ",
  "<": "fewer than ",
  "=": "",
};
const TYPED_SIGNS: Record<string, string> = {
  ">=": "at least",
  "<=": "at most",
  ">": "more than",
  "<": "fewer than",
  "=": "exactly",
};
// The sizes that words stand for: search/phrases.py.
const SIZES: Record<string, [name: string, typed: string]> = {
  "<0.02": ["small", "in the background"],
  ">0.2": ["large", "in the foreground"],
  ">0.5": ["filling the frame", "filling the frame"],
};

/** One condition as it stands in the address; null when it is no such thing. */
function read(value: string): Objects | null {
  try {
    const one = JSON.parse(value) as Objects | null;
    return one && typeof one.class === "string" ? one : null;
  } catch {
    return null;
  }
}

const split = (count: string) => /^\s*(>=|<=|>|<|=)?\s*(\d+)\s*$/.exec(count);
const interval = (count: string) => /^\s*(\d+)\.\.(\d+)\s*$/.exec(count);

/** A number of objects in words: “≥2”, “more than 2”, “2 to 4”. */
function number(count: string): string {
  const both = interval(count);
  if (both) return `${both[1]} to ${both[2]}`;
  const one = split(count);
  return one ? SIGNS[one[1] ?? "="] + one[2]! : count;
}

const counts = ({ count = ">=1" }: Objects) => [count].flat().map(String);
const colors = ({ color }: Objects): string =>
  typeof color === "object" ? Object.entries(color).map((pair) => pair.join(" ")).join(" ") : (color ?? ""); // prettier-ignore

export function objectsText(value: string): string {
  const one = read(value);
  if (!one) return value;
  return [
    `${colors(one)} ${one.class}`.trim(),
    one.position,
    one.size && (SIZES[one.size]?.[0] ?? `size ${one.size}`),
    one.arrangement,
    counts(one).map(number).join(" and "),
    one.score !== undefined && `score ≥${one.score}`,
  ]
    .filter(Boolean)
    .join(", ");
}

/** A number and a class as words that the server understands; null when no words say it. */
export function countTyped(count: string, name: string): string | null {
  const both = interval(count);
  if (both) return `between ${both[1]} and ${both[2]} ${name}`;
  const one = split(count);
  return one && `${TYPED_SIGNS[one[1] ?? "="]!} ${one[2]} ${name}`;
}

/** The words that the server understands as this condition, else the condition itself, without a blank. */
export function objectsTyped(value: string): string {
  const one = read(value);
  const itself = `objects:${value.replaceAll(" ", "\\u0020")}`;
  if (!one || one.score !== undefined || Array.isArray(one.count)) return itself;
  const isMostly = typeof one.color === "object" && Object.values(one.color).join() === ">0.5";
  if (typeof one.color === "object" && !isMostly) return itself;
  if (one.size && !SIZES[one.size]) return itself;
  const color = typeof one.color === "object" ? `mostly ${Object.keys(one.color).join()}` : (one.color ?? "");
  const noun = `${color} ${one.class}`.trim();
  const counted = one.count === undefined ? noun : countTyped(String(one.count), noun);
  if (!counted) return itself;
  const place = one.position === "center" ? "in the center" : one.position && `on the ${one.position}`;
  return [counted, place, one.size && SIZES[one.size]![1], one.arrangement].filter(Boolean).join(" ");
}
