"use strict";
(() => {
  const form = document.getElementById("filter");
  if (!form) return;
  const text = document.getElementById("text");
  const shown = document.getElementById("shown");
  const items = [...document.querySelectorAll("#list > li")].map((item) => ({
    item,
    details: item.querySelector("details"),
    action: item.dataset.action,
    members: [...item.querySelectorAll(".members > li")],
    fold: item.querySelector(".fold:not([open])"),
  }));
  const count = (entry) => entry.members.length || 1;
  const total = items.reduce((sum, entry) => sum + count(entry), 0);

  // The searchable text of an entry, without the patch: every patch contains "replace".
  const read = (entry) => {
    if (entry.said === undefined) {
      const summary = entry.item.querySelector("summary").textContent;
      const facts = entry.item.querySelector(".facts").textContent;
      entry.said = (summary + " " + facts).toLowerCase();
      entry.names = entry.members.map((member) => member.textContent.toLowerCase());
    }
    return entry;
  };
  const matches = (words, said, name) =>
    words.every((word) => said.includes(word) || name.includes(word));

  const select = (words, entry) => {
    if (!entry.members.length) return matches(words, read(entry).said, "") ? 1 : 0;
    const { said, names } = read(entry);
    const found = entry.members.filter((member, number) => {
      member.hidden = !matches(words, said, names[number]);
      return !member.hidden;
    }).length;
    // A search that matches some members opens the list, so that they are visible.
    if (entry.fold) entry.fold.open = found > 0 && found < entry.members.length;
    return found;
  };

  const apply = () => {
    const words = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const boxes = [...form.querySelectorAll("[name=action]:checked")];
    const actions = new Set(boxes.map((box) => box.value));
    let found = 0;
    for (const entry of items) {
      const number = actions.has(entry.action) ? select(words, entry) : 0;
      entry.item.hidden = number === 0;
      found += number;
    }
    shown.textContent = `${found} of ${total} shown`;
  };
  const fold = (open) => {
    for (const { item, details } of items) if (!item.hidden) details.open = open;
  };

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("open").addEventListener("click", () => fold(true));
  document.getElementById("close").addEventListener("click", () => fold(false));
  // A link to a change resets the filter, so that the change is visible.
  document.addEventListener("click", (event) => {
    if (!event.target.closest('a[href^="#change-"]')) return;
    form.reset();
    apply();
  });
  form.hidden = false;
  apply();
})();
