// The address holds the whole state of a screen: sharing a link or pressing Back brings it back.

class Router {
  #url = $state.raw(new URL(location.href));

  constructor() {
    addEventListener("popstate", () => (this.#url = new URL(location.href)));
  }

  get path(): string {
    return this.#url.pathname;
  }

  get query(): URLSearchParams {
    return this.#url.searchParams;
  }

  /** Go to `address`; with `replace` the present one is not kept in the browser's history. */
  go(address: string, { replace = false } = {}) {
    const url = new URL(address, location.href);
    if (url.href === this.#url.href) return;
    history[replace ? "replaceState" : "pushState"](null, "", url);
    this.#url = url;
  }

  /** Change the query of the present address. */
  search(query: URLSearchParams, options?: { replace?: boolean }) {
    const text = query.toString();
    this.go(this.path + (text ? `?${text}` : ""), options);
  }
}

export const router = new Router();

/** For links: stay in the page on a plain click, leave the browser the rest (new tab, download). */
export function follow(event: MouseEvent) {
  const link = (event.currentTarget as HTMLElement).closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  router.go(link.href);
}
