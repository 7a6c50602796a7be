// What people do to items: shown at once, put back with a reason if the server refuses, undone with one key.
import { api, body, sentence, type Item, type LabelClass, type Operation } from "../../lib/api/client";
import { queryClient } from "../../lib/api/queries";
import { count, plural } from "../../lib/format";
import { toasts } from "../../lib/toast.svelte";
import type { Answer, LabelTarget, Target, Workspace } from "../workspace.svelte";

type Mode = "add" | "replace" | "remove";
type Status = Item["status"];

interface Applied {
  operation: number;
  changed: number;
  skipped?: number;
}

/** Filters that an act can move items out of. */
const TOUCHED = {
  labels: [
    "label",
    "not_label",
    "unlabeled",
    "source",
    "annotator",
    "min_confidence",
    "max_confidence",
    "disagrees",
  ],
  tags: ["tag", "not_tag"],
  status: ["status", "not_status"],
};

const hasHuman = (item: Item) => item.labels.some((one) => one.source === "human" && !one.region);

/** “24 items”, “regions of 24 items”, “the region”. */
function whatOf({ noun, count: asked }: LabelTarget, changed: number): string {
  if (noun === "item") return plural(changed, "item");
  return asked === 1 ? "the region" : `regions of ${plural(changed, "item")}`;
}

const NOBODY = "Nothing is selected or focused. Click an item, or select some with Ctrl and Shift.";

export class Acts {
  constructor(private readonly workspace: Workspace) {}

  get #path() {
    return { path: { id: this.workspace.id } };
  }

  /** Give the class to the target; in a multi-label dataset a second time takes it away again. */
  async label(label: LabelClass) {
    const { labelTarget: target, items, dataset } = this.workspace;
    const isMulti = dataset.data?.multi_label ?? false;
    const known = target.ids.map((id) => items.get(id)).filter((item) => item !== undefined);
    const has = (item: Item) => item.labels.some((one) => one.label_id === label.id && !one.region);
    const isRemoval = isMulti && known.length > 0 && known.length === target.count && known.every(has);
    const mode: Mode = isRemoval ? "remove" : isMulti ? "add" : "replace";
    const answer = isMulti ? "replace" : await this.#askAboutPeoplesLabels(label);
    if (!answer) return;
    const given = {
      label: label.name,
      label_id: label.id,
      source: "human" as const,
      confidence: null,
      author: null,
    };
    const others = (item: Item) =>
      item.labels.filter((one) => one.region || (isMulti && one.label_id !== label.id));
    return this.#act(
      "labels",
      (selection) =>
        api.POST("/api/v1/datasets/{id}/annotations/", {
          params: this.#path,
          body: { selection, label: label.id, mode, keep_human: answer === "keep" },
        }),
      (item) => ({
        ...item,
        labels:
          answer === "keep" && hasHuman(item)
            ? item.labels
            : isRemoval
              ? item.labels.filter((one) => one.label_id !== label.id)
              : [...others(item), { ...given, created_at: new Date().toISOString() }],
      }),
      (done) =>
        !done.changed
          ? `Nothing to change: already ${label.name}`
          : `${isRemoval ? `Took ${label.name} from` : "Labelled"} ${whatOf(target, done.changed)}${isRemoval ? "" : ` ${label.name}`}` +
            (done.skipped ? ` · ${count(done.skipped)} labelled by people kept` : ""),
      target,
    );
  }

  /** Whether labels that people gave to several items are to be kept or replaced; null: do nothing. */
  async #askAboutPeoplesLabels(label: LabelClass): Promise<Answer | null> {
    const { workspace } = this;
    const target = workspace.labelTarget;
    if (target.count < 2 || !workspace.canLabel) return "replace";
    let byPeople: number;
    if (target.ids.length === target.count) {
      const isOther = (item?: Item) =>
        item?.labels.some((one) => one.source === "human" && !one.region && one.label_id !== label.id);
      byPeople = target.ids.filter((id) => isOther(workspace.items.get(id))).length;
    } else {
      try {
        const preview = { selection: target.body };
        byPeople = (
          await body(api.POST("/api/v1/datasets/{id}/selection/", { params: this.#path, body: preview }))
        ).labeled_by_people;
      } catch (error) {
        toasts.fail(sentence(error));
        return null;
      }
    }
    if (!byPeople) return "replace";
    return new Promise((answer) => {
      workspace.question = { label: label.name, what: plural(target.count, target.noun), byPeople, answer };
    });
  }

  /** Take labels away: one class, or all of them. */
  unlabel(label?: LabelClass, target: LabelTarget = this.workspace.labelTarget) {
    return this.#act(
      "labels",
      (selection) =>
        api.POST("/api/v1/datasets/{id}/annotations/", {
          params: this.#path,
          body: { selection, label: label?.id ?? null, mode: "remove", keep_human: false },
        }),
      (item) => ({
        ...item,
        labels: item.labels.filter((one) => one.region || (label && one.label_id !== label.id)),
      }),
      (done) => `Took ${label?.name ?? "the labels"} from ${whatOf(target, done.changed)}`,
      target,
    );
  }

  tag(add: string[], remove: string[]) {
    return this.#act(
      "tags",
      (selection) =>
        api.POST("/api/v1/datasets/{id}/tags/", { params: this.#path, body: { selection, add, remove } }),
      (item) => ({
        ...item,
        tags: [...new Set([...item.tags, ...add])].filter((tag) => !remove.includes(tag)).sort(),
      }),
      (done) =>
        `${add.length ? `Tagged ${add.join(", ")}` : `Took ${remove.join(", ")} from`}: ${plural(done.changed, "item")}`,
    );
  }

  status(status: Status) {
    const said = { todo: "To do", done: "Done", excluded: "Excluded" }[status];
    return this.#act(
      "status",
      (selection) =>
        api.POST("/api/v1/datasets/{id}/status/", { params: this.#path, body: { selection, status } }),
      (item) => ({ ...item, status }),
      (done) => `${said}: ${plural(done.changed, "item")}`,
    );
  }

  /** Exclude; when all that is known of the target is excluded already, take it back in. */
  exclude() {
    const { target, items } = this.workspace;
    const isOut = target.ids.length > 0 && target.ids.every((id) => items.get(id)?.status === "excluded");
    return this.status(isOut ? "todo" : "excluded");
  }

  /** Undo an operation; without one, the newest of the person's own. Undoing an undo redoes it. */
  async undo(operation?: number) {
    try {
      const which = operation ?? (await this.#latest());
      if (!which) return toasts.show({ text: "There is nothing to undo." });
      const done = await body(api.POST("/api/v1/operations/{id}/undo/", { params: { path: { id: which } } }));
      const kept = done.kept_because_changed_since;
      toasts.show({
        text:
          `Undone on ${plural(done.reverted, "item")}` +
          (kept ? ` · ${plural(kept, "item")} kept, changed since` : ""),
      });
    } catch (error) {
      toasts.fail(sentence(error));
    }
    await this.#refresh(Object.values(TOUCHED).flat());
  }

  async #latest(): Promise<number | undefined> {
    const page = await body(
      api.GET("/api/v1/datasets/{id}/operations/", { params: { ...this.#path, query: { limit: 100 } } }),
    );
    const isMine = ({ author, kind }: Operation) =>
      author === this.workspace.user.username && kind !== "import" && kind !== "undo";
    return page.results.find((one) => one.can_undo && one.undone_by === null && isMine(one))?.id;
  }

  async #act(
    kind: keyof typeof TOUCHED,
    send: (selection: Record<string, unknown>) => Promise<{ data?: Applied }>,
    change: (item: Item) => Item,
    said: (done: Applied) => string,
    target: Target = this.workspace.target,
  ) {
    const { workspace } = this;
    const { items } = workspace;
    if (!workspace.canLabel)
      return toasts.fail(
        "As a viewer of this dataset you can look, but not change. Ask a manager for a role.",
      );
    if (!target.count) return toasts.show({ text: NOBODY });
    const putBack = items.patch(target.ids, change);
    try {
      const done = await body(send(target.body));
      toasts.show({ text: said(done), ...(done.changed && { undo: () => void this.undo(done.operation) }) });
    } catch (error) {
      putBack();
      toasts.fail(`Nothing was changed. ${sentence(error)}`);
      return;
    }
    await this.#refresh(TOUCHED[kind]);
  }

  /** Fetch again what an act may have changed; what left the filter leaves the grid. */
  async #refresh(touched: string[]) {
    const { workspace } = this;
    const key = ["dataset", workspace.id];
    const moves = touched.some((filter) => filter in workspace.view.filter);
    if (moves && workspace.selection.whole) workspace.clearSelection();
    const visible = [...workspace.items.items.keys()];
    await Promise.all([
      workspace.items.refresh(visible.slice(-600)),
      queryClient.invalidateQueries({
        queryKey: key,
        predicate: ({ queryKey }) => queryKey[2] !== "order" || moves,
      }),
      queryClient.invalidateQueries({ queryKey: ["item"] }),
    ]);
  }
}
