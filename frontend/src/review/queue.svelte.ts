// The review queue of one dataset: what is looked at now, what comes next, and what was said.
import { createQuery, keepPreviousData } from "@tanstack/svelte-query";
import { api, body, sentence, type Finding, type LabelClass, type User } from "../lib/api/client";
import { classes, dataset, queryClient } from "../lib/api/queries";
import { router } from "../lib/router.svelte";
import { toasts } from "../lib/toast.svelte";
import { NOTHING_SAID, pastOf, type Place, type Said } from "./said";

/** One to look at, and those whose pictures are fetched meanwhile. */
const AHEAD = 3;
/** Of a mistake, at once. */
const TOGETHER = 200;

/** As the API takes it. */
export interface Verdict {
  state: "confirmed" | "dismissed";
  label?: number;
  exclude?: boolean;
  duplicate?: boolean;
}

class Opened {
  constructor(
    readonly id: number,
    readonly user: User,
  ) {}
}

export class ReviewQueue extends Opened {
  /** What is looked at, and what comes next. */
  list = $state.raw<Finding[]>([]);
  open = $state(0);
  held = $state(0);
  isLoading = $state(true);
  problem = $state("");
  /** The newest last: what Undo takes back. */
  said = $state.raw<Said[]>([]);
  skipped = $state(0);
  /** Behind which the next ones are: the last that was decided or skipped. */
  #after: Place = NOTHING_SAID;
  #loads = 0;

  readonly kind = $derived(router.query.get("kind") ?? "");
  readonly group = $derived(router.query.get("group") ?? "");
  readonly current = $derived<Finding | undefined>(this.list[0]);

  readonly dataset = createQuery(
    () => dataset(this.id),
    () => queryClient,
  );
  readonly classes = createQuery(
    () => classes(this.id),
    () => queryClient,
  );
  readonly review = createQuery(
    () => ({
      queryKey: ["dataset", this.id, "review", this.kind],
      placeholderData: keepPreviousData,
      queryFn: () =>
        body(
          api.GET("/api/v1/datasets/{id}/review/", {
            params: { path: { id: this.id }, query: this.kind ? { kind: this.kind } : {} },
          }),
        ),
    }),
    () => queryClient,
  );
  /** All of the present mistake, where there are several. */
  readonly together = createQuery(
    () => ({
      queryKey: ["dataset", this.id, "review", "together", this.kind, this.groupOfCurrent],
      enabled: this.groupOfCurrent !== "",
      queryFn: () =>
        body(
          api.GET("/api/v1/datasets/{id}/findings/", {
            params: {
              path: { id: this.id },
              query: { kind: [this.kind], group: this.groupOfCurrent, limit: TOGETHER },
            },
          }),
        ),
    }),
    () => queryClient,
  );

  get groupOfCurrent(): string {
    const name = this.group || this.current?.group || "";
    return this.review.data?.groups.some((one) => one.name === name) ? name : "";
  }
  get canDecide(): boolean {
    return (this.dataset.data?.role ?? "viewer") !== "viewer";
  }

  show(kind: string, group = "") {
    const query = new URLSearchParams({ kind, ...(group && { group }) });
    router.go(`/datasets/${this.id}/review?${query}`);
  }

  /** From the best one on. */
  async begin() {
    this.list = [];
    this.skipped = 0;
    this.#after = NOTHING_SAID;
    await this.load();
  }

  /** What is held and what comes next; people hold an item for some minutes, so this is asked again now and then. */
  async load() {
    if (!this.kind) return;
    const turn = ++this.#loads;
    this.isLoading = true;
    try {
      const claimed = await body(
        api.POST("/api/v1/datasets/{id}/review/claim/", {
          params: { path: { id: this.id } },
          body: { kind: this.kind, group: this.group, number: AHEAD, after: [...this.#after] },
        }),
      );
      if (turn !== this.#loads) return;
      this.list = claimed.results;
      this.open = claimed.open;
      this.held = claimed.held;
      this.problem = "";
    } catch (error) {
      if (turn === this.#loads) this.problem = sentence(error);
    } finally {
      if (turn === this.#loads) this.isLoading = false;
    }
  }

  release() {
    return api
      .POST("/api/v1/datasets/{id}/review/release/", { params: { path: { id: this.id } } })
      .catch(() => undefined); // What is held is let go by itself after some minutes.
  }

  /** The next one is shown at once; a refusal tells its reason, and nothing was changed. */
  async decide(verdict: Verdict) {
    const finding = this.current;
    if (!finding || !this.canDecide) return;
    this.#pass(finding);
    try {
      const decided = await body(
        api.POST("/api/v1/findings/{id}/", { params: { path: { id: finding.id } }, body: verdict }),
      );
      const label = this.classes.data?.find(({ id }) => id === verdict.label);
      this.said = [...this.said, pastOf(finding, verdict, label?.name ?? "", decided.operation)];
    } catch (error) {
      toasts.fail(`Nothing was changed of ${finding.item.key}. ${sentence(error)}`);
    }
    await Promise.all([this.load(), this.refresh()]);
  }

  /** The same on all of a mistake. */
  async decideAll(findings: Finding[], verdict: Verdict) {
    if (!findings.length || !this.canDecide) return;
    const [first] = findings;
    try {
      const done = await body(
        api.POST("/api/v1/datasets/{id}/review/decide/", {
          params: { path: { id: this.id } },
          body: { ids: findings.map(({ id }) => id), ...verdict },
        }),
      );
      const label = this.classes.data?.find(({ id }) => id === verdict.label);
      const past = pastOf(first!, verdict, label?.name ?? "", done.operation, done.decided);
      this.said = [...this.said, past];
      if (done.left)
        toasts.show({
          text: `${past.text}. ${done.left} left as they are: decided or labelled by somebody meanwhile.`,
        });
    } catch (error) {
      toasts.fail(`Nothing was changed. ${sentence(error)}`);
    }
    await Promise.all([this.load(), this.refresh()]);
  }

  skip() {
    if (!this.current) return;
    this.skipped += 1;
    this.#pass(this.current);
    void this.load();
  }

  async undo() {
    const last = this.said.at(-1);
    if (!last)
      return toasts.show({ text: "There is nothing to undo here. History has what was done before." });
    this.said = this.said.slice(0, -1);
    if (last.operation !== null) {
      try {
        await body(api.POST("/api/v1/operations/{id}/undo/", { params: { path: { id: last.operation } } }));
      } catch (error) {
        return toasts.fail(sentence(error));
      }
    }
    // Look at it again.
    const [rank, id] = last.place;
    this.#after = [rank, id - 1];
    await Promise.all([this.load(), this.refresh()]);
  }

  /** Another class. Made first if it is new. */
  async labelWith(label: LabelClass) {
    await this.decide({ state: "confirmed", label: label.id });
  }

  async refresh() {
    await Promise.all([
      queryClient.invalidateQueries({ queryKey: ["dataset", this.id] }),
      queryClient.invalidateQueries({ queryKey: ["item"] }),
    ]);
  }

  #pass(finding: Finding) {
    this.#after = [finding.rank, finding.id];
    this.list = this.list.slice(1);
  }
}
