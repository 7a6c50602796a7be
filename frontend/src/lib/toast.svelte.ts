// One message at a time, at the bottom left; an act's message offers its undo.

export interface Toast {
  text: string;
  isError?: boolean;
  undo?: () => void;
}

const SHOWN_MS = 8_000;

class Toasts {
  current = $state.raw<Toast | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;

  show(toast: Toast) {
    this.current = toast;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => (this.current = null), SHOWN_MS);
  }

  fail(text: string) {
    this.show({ text, isError: true });
  }

  dismiss() {
    this.current = null;
  }
}

export const toasts = new Toasts();
