// The one keyboard map. The `?` sheet is made from it, and the workspace looks keys up in it.

export type Action =
  | "search"
  | "similar"
  | "more"
  | "less"
  | "cut"
  | "left"
  | "right"
  | "up"
  | "down"
  | "home"
  | "end"
  | "select"
  | "selectAll"
  | "back"
  | "palette"
  | "exclude"
  | "done"
  | "tag"
  | "undo"
  | "large"
  | "box"
  | "polygon"
  | "area"
  | "review"
  | "remove"
  | "history"
  | "keys";

export interface Shortcut {
  action: Action;
  /** As `KeyboardEvent.key`; `Ctrl+` stands for Cmd too. */
  keys: string[];
  /** How the sheet shows it. */
  shown: string;
  does: string;
  group: "Find" | "Move and select" | "Label" | "Look";
}

export const SHORTCUTS: Shortcut[] = [
  { action: "search", keys: ["/"], shown: "/", does: "search", group: "Find" },
  {
    action: "similar",
    keys: ["s"],
    shown: "S",
    does: "find similar to the focused item, or to the chosen region or area",
    group: "Find",
  },
  {
    action: "area",
    keys: ["a"],
    shown: "A",
    does: "mark an area to search with; P makes it a polygon, B a box again (in the large view)",
    group: "Find",
  },
  { action: "more", keys: ["+", "="], shown: "+", does: "more like it (or the selection)", group: "Find" },
  { action: "less", keys: ["-"], shown: "−", does: "less like it", group: "Find" },
  { action: "cut", keys: ["c"], shown: "C", does: "take the suggested cut, or leave it", group: "Find" },
  {
    action: "left",
    keys: ["ArrowLeft"],
    shown: "← → ↑ ↓",
    does: "move; with Shift, select on the way",
    group: "Move and select",
  },
  { action: "right", keys: ["ArrowRight"], shown: "", does: "", group: "Move and select" },
  { action: "up", keys: ["ArrowUp"], shown: "", does: "", group: "Move and select" },
  { action: "down", keys: ["ArrowDown"], shown: "", does: "", group: "Move and select" },
  {
    action: "home",
    keys: ["Home"],
    shown: "Home End",
    does: "to the first, to the last",
    group: "Move and select",
  },
  { action: "end", keys: ["End"], shown: "", does: "", group: "Move and select" },
  { action: "select", keys: [" "], shown: "Space", does: "select or unselect", group: "Move and select" },
  {
    action: "selectAll",
    keys: ["Ctrl+a"],
    shown: "Ctrl A",
    does: "select all found",
    group: "Move and select",
  },
  { action: "back", keys: ["Escape"], shown: "Esc", does: "one step back", group: "Move and select" },
  {
    action: "palette",
    keys: ["l"],
    shown: "L",
    does: "choose a label (of the chosen region, in the large view)",
    group: "Label",
  },
  {
    action: "review",
    keys: ["r"],
    shown: "R",
    does: "review what was found; with found regions selected, label these or the items",
    group: "Label",
  },
  { action: "exclude", keys: ["x"], shown: "X", does: "exclude (or take back in)", group: "Label" },
  { action: "done", keys: ["d"], shown: "D", does: "mark as done", group: "Label" },
  { action: "tag", keys: ["t"], shown: "T", does: "tag", group: "Label" },
  { action: "undo", keys: ["z", "Ctrl+z"], shown: "Z", does: "undo the last act", group: "Label" },
  { action: "large", keys: ["Enter"], shown: "Enter", does: "large view", group: "Look" },
  { action: "box", keys: ["b"], shown: "B", does: "draw a box (in the large view)", group: "Look" },
  {
    action: "polygon",
    keys: ["p"],
    shown: "P",
    does: "draw a polygon (in the large view): Enter sets and closes, Backspace takes a point back",
    group: "Look",
  },
  {
    action: "remove",
    keys: ["Delete", "Backspace"],
    shown: "Del",
    does: "remove the chosen region",
    group: "Look",
  },
  { action: "history", keys: ["h"], shown: "H", does: "history of the dataset", group: "Look" },
  { action: "keys", keys: ["?"], shown: "?", does: "this sheet", group: "Look" },
];

const byKey = new Map(SHORTCUTS.flatMap((shortcut) => shortcut.keys.map((key) => [key, shortcut.action])));

/** What a key press means; null while somebody types, or when it means nothing. */
export function actionOf(
  event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "altKey" | "target">,
): Action | null {
  if (event.altKey || isTyping(event.target)) return null;
  const control = event.ctrlKey || event.metaKey;
  return byKey.get(control ? `Ctrl+${event.key.toLowerCase()}` : event.key) ?? null;
}

/** Whether keys belong to a text field at the moment. */
export function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  if (!element?.tagName) return false;
  if (element.isContentEditable || element.tagName === "TEXTAREA" || element.tagName === "SELECT")
    return true;
  return (
    element.tagName === "INPUT" &&
    !["checkbox", "radio", "range", "button"].includes((element as HTMLInputElement).type)
  );
}
