class Theme {
  current = $state(document.documentElement.dataset.theme === "dark" ? "dark" : "light");

  toggle() {
    this.current = this.current === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = this.current;
    localStorage.setItem("theme", this.current);
  }
}

export const theme = new Theme();
