(() => {
  const byId = (id) => document.getElementById(id);
  const number = (value) => value.toLocaleString("en-US");
  const form = byId("filter");

  // How long ago the report was made; the page itself holds only the time.
  for (const place of document.querySelectorAll(".since")) {
    const seconds = (Date.now() - Date.parse(place.dataset.at)) / 1000;
    const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
    const [size, unit] = units.find(([one]) => seconds >= 2 * one) ?? [1, "s"];
    if (!(seconds >= 0)) continue;
    place.textContent = `${Math.floor(seconds / size)} ${unit} ago`;
    place.classList.toggle("old", seconds > 86400);
    place.hidden = false;
  }
  if (!form) return;

  const { verdicts, ages, environments, groups, applied, items: raw } = JSON.parse(byId("data").textContent);
  const calm = verdicts.length - 1;
  const slug = (verdict) => verdicts[verdict][0].replaceAll(" ", "-");
  const items = raw.flatMap(([group, last, names, verdict = calm, age = -1, row = 0]) => {
    const [environment, kind, fleet] = groups[group];
    const make = (name) => ({ address: `${kind}/${name}`, environment, fleet, last: applied[last], verdict, age, row });
    return names.split("\n").map(make);
  });
  const describe = (item) => {
    const where = [environments[item.environment], item.fleet].filter(Boolean).join(", ");
    const by = item.last ? `, last applied ${item.last}` : "";
    return `${item.address}${where && ` (${where})`}: ${verdicts[item.verdict][0]}${by}`;
  };

  // Rows with details, which a click opens.
  document.documentElement.classList.add("js");
  const firsts = [];
  for (const item of items) firsts[item.row] ??= item;
  const rows = [...document.querySelectorAll("#rows > .row")].map((body, at) => {
    const name = body.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "open";
    name.replaceWith(button);
    button.append(name);
    const fold = body.querySelector(".members");
    return { body, button, fold, first: firsts[at + 1], members: fold ? [...fold.querySelectorAll("li")] : [] };
  });
  const addCopying = (row) => {
    for (const command of row.body.querySelectorAll(".command:not(:has(small, .copy))")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy ${command.querySelector("code").textContent}`);
      command.append(" ", button);
    }
  };
  const open = (row, wanted) => {
    if (wanted) addCopying(row);
    row.body.classList.toggle("opened", wanted);
    row.button.setAttribute("aria-expanded", String(wanted));
  };
  for (const row of rows) open(row, rows.length <= 3);
  const size = (row) => row.members.length || 1;
  const away = items.filter((item) => item.verdict !== calm).length;
  byId("rows").addEventListener("click", (event) => {
    const line = event.target.closest(".row > tr:first-child");
    if (!line || getSelection().toString()) return;
    const row = rows.find((one) => one.body === line.parentElement);
    open(row, !row.body.classList.contains("opened"));
  });

  // The filter. Its state is the fragment of the address, so that a link keeps it.
  const names = ["q", "class", "severity", "env", "age"].filter((name) => form.elements[name]);
  const further = byId("further");
  const list = byId("calm");
  const step = 200;
  let rest = [];
  let limit = 0;

  const read = (row) => {
    if (row.said !== undefined) return row;
    row.names = row.members.map((member) => member.textContent.toLowerCase());
    row.said = [...row.body.querySelectorAll("tr:first-child, .place")].map((part) => part.textContent).join(" ").toLowerCase();
    return row;
  };
  const matches = (words, said, name) => words.every((word) => said.includes(word) || name.includes(word));
  const countIn = (row, words, exact) => {
    if (!words.length && !exact) {
      for (const member of row.members) member.hidden = false;
      return size(row);
    }
    const { said, names: members } = read(row);
    if (!row.members.length) {
      const fits = exact ? row.button.textContent.toLowerCase() === exact : matches(words, said, "");
      return fits ? 1 : 0;
    }
    const found = row.members.filter((member, at) => {
      member.hidden = !(exact ? members[at] === exact : matches(words, said, members[at]));
      return !member.hidden;
    }).length;
    if (row.fold) row.fold.open = found > 0 && found < row.members.length;
    return found;
  };
  const fits = (item, wanted) => {
    if (wanted.class && wanted.class !== slug(item.verdict)) return false;
    if (wanted.severity && (item.verdict === calm || wanted.severity !== verdicts[item.verdict][1])) return false;
    if (wanted.env && wanted.env !== environments[item.environment]) return false;
    return !wanted.age || wanted.age === ages[item.age];
  };
  const says = (item, words, exact) => {
    if (exact) return item.address.toLowerCase() === exact;
    if (!words.length) return true;
    item.said ??= describe(item).toLowerCase();
    return matches(words, item.said, "");
  };

  const makeRow = (item) => {
    const row = document.createElement("tr");
    row.className = "calm";
    const add = (tag, text, inner, style) => {
      const cell = row.appendChild(document.createElement(tag));
      const holder = inner ? cell.appendChild(document.createElement(inner)) : cell;
      holder.textContent = text;
      if (style) holder.className = style;
      return cell;
    };
    const head = add("th", item.address, "code");
    head.scope = "row";
    for (const text of [environments.length > 1 && environments[item.environment], item.fleet]) {
      if (!text) continue;
      const label = head.appendChild(document.createElement("span"));
      label.className = "label";
      label.textContent = text;
    }
    add("td", verdicts[item.verdict][0], "span", `badge ${slug(item.verdict)}`);
    add("td", "");
    add("td", "");
    add("td", item.last).className = "by";
    return row;
  };
  const fill = () => {
    const shown = rest.slice(0, limit);
    for (const item of shown.slice(list.childElementCount)) list.append(makeRow(item));
    const left = rest.length - shown.length;
    const what = rest.some((item) => item.verdict !== calm) ? "more" : "in sync";
    further.hidden = left === 0;
    further.textContent = left > step ? `Show ${step} of ${number(left)} ${what}` : `Show ${number(left)} ${what}`;
  };

  const apply = () => {
    const wanted = Object.fromEntries(names.map((name) => [name, form.elements[name].value.trim()]));
    const text = wanted.q.toLowerCase();
    const exact = /^".+"$/.test(text) ? text.slice(1, -1) : "";
    const words = exact ? [] : text.split(/\s+/).filter(Boolean);
    let found = 0;
    for (const row of rows) {
      const here = fits(row.first, wanted) ? countIn(row, words, exact) : 0;
      if (row.body.hidden !== (here === 0)) row.body.hidden = here === 0;
      found += here;
    }
    rest = items.filter((item) => item.row === 0 && fits(item, wanted) && says(item, words, exact));
    rest.sort((one, other) => one.verdict - other.verdict);
    limit = exact || wanted.class || !away ? step : 0;
    list.replaceChildren();
    fill();
    const silent = rest.filter((item) => item.verdict === calm).length;
    const said = away ? [`${number(found + rest.length - silent)} of ${number(away)} not in sync`] : [];
    if (silent || !away) said.push(`${number(silent)} in sync`);
    byId("shown").textContent = said.join("; ");
    byId("rows").hidden = found === 0 && list.childElementCount === 0;
    return wanted;
  };
  const keep = (wanted) => {
    const said = new URLSearchParams(Object.entries(wanted).filter(([, value]) => value));
    try {
      history.replaceState(null, "", `#${said}`);
    } catch {} // A browser may refuse many changes in a short time.
  };
  const set = (wanted) => {
    for (const name of names) {
      const field = form.elements[name];
      const value = wanted[name] ?? "";
      field.value = value;
      if (field.value !== value) field.value = "";
    }
    return apply();
  };
  const readHash = () => {
    const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
    return names.some((name) => name in wanted) ? wanted : null;
  };
  const goToList = () => byId("list").scrollIntoView({ block: "start" });

  form.addEventListener("input", () => keep(apply()));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    keep(set({}));
    form.elements.q.focus();
  });
  further.addEventListener("click", () => {
    limit += step;
    fill();
    byId("rows").hidden = false;
  });
  addEventListener("hashchange", () => {
    if (location.hash === "") set({});
    const wanted = readHash();
    if (!wanted) return;
    set(wanted);
    goToList();
  });
  form.hidden = false;
  set(readHash() ?? {});

  // The strips: a pointer or arrow keys name a service, a click or Enter filters.
  const readout = document.querySelector(".readout");
  const hint = "Point at a square or use the arrow keys to read a name; click it or press Enter to filter.";
  readout.textContent = hint;
  readout.hidden = false;
  const draw = (strip) => {
    const { columns, start, total, svg } = strip;
    const paths = new Map();
    for (let at = 0; at < total; ) {
      const verdict = items[start + at].verdict;
      const end = Math.min(total, (Math.floor(at / columns) + 1) * columns);
      let next = at + 1;
      while (next < end && items[start + next].verdict === verdict) next += 1;
      const line = `M${(at % columns) * 10} ${Math.floor(at / columns) * 10 + 5}h${(next - at) * 10 - 1}`;
      paths.set(slug(verdict), (paths.get(slug(verdict)) ?? "") + line);
      at = next;
    }
    for (const path of svg.querySelectorAll(".cell")) path.setAttribute("d", paths.get(path.classList[1]));
    const width = Math.min(columns, total) * 10;
    const height = Math.ceil(total / columns) * 10;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  };
  const choose = (item, byKeys) => {
    const environment = environments.length > 1 ? { env: environments[item.environment] } : {};
    keep(set({ q: `"${item.address}"`, ...environment }));
    const row = rows.find((one) => !one.body.hidden);
    if (row) open(row, true);
    goToList();
    if (byKeys) (row?.button ?? form.elements.q).focus({ preventScroll: true });
  };
  for (const element of document.querySelectorAll(".strip")) {
    const svg = element.querySelector("svg");
    const cursor = element.querySelector(".cursor");
    const strip = { svg, start: Number(element.dataset.start), total: Number(element.dataset.count), columns: Number(element.dataset.columns) };
    let at = -1;
    const wide = strip.columns;
    const narrow = matchMedia("(max-width: 44rem)");
    const fit = () => {
      const columns = narrow.matches ? (wide === 100 ? 60 : wide / 2) : wide;
      if (columns === strip.columns) return;
      strip.columns = columns;
      draw(strip);
      at = -1;
      cursor.setAttribute("visibility", "hidden");
    };
    narrow.addEventListener("change", fit);
    fit();
    const point = (next) => {
      if (next === at) return;
      at = next;
      cursor.setAttribute("visibility", at < 0 ? "hidden" : "visible");
      readout.classList.toggle("named", at >= 0);
      readout.textContent = at < 0 ? hint : describe(items[strip.start + at]);
      if (at < 0) return;
      cursor.setAttribute("x", (at % strip.columns) * 10 - 1);
      cursor.setAttribute("y", Math.floor(at / strip.columns) * 10 - 0.5);
    };
    const locate = (event) => {
      const box = svg.getBoundingClientRect();
      const column = Math.floor(((event.clientX - box.left) / box.width) * Math.min(strip.columns, strip.total));
      const line = Math.floor(((event.clientY - box.top) / box.height) * Math.ceil(strip.total / strip.columns));
      const found = line * strip.columns + column;
      return column >= 0 && line >= 0 && found < strip.total ? found : -1;
    };
    element.addEventListener("pointermove", (event) => point(locate(event)));
    element.addEventListener("pointerleave", () => element.matches(":focus-visible") || point(-1));
    element.addEventListener("focus", () => point(Math.max(at, 0)));
    element.addEventListener("blur", () => point(-1));
    element.addEventListener("click", (event) => {
      const found = locate(event);
      if (found >= 0) choose(items[strip.start + found]);
    });
    element.addEventListener("keydown", (event) => {
      const moves = {
        ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - strip.columns, ArrowDown: at + strip.columns,
        Home: 0, End: strip.total - 1,
      };
      if (event.key in moves) {
        const next = moves[event.key];
        if (next >= 0 && next < strip.total) point(next);
      } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
        choose(items[strip.start + at], true);
      } else return;
      event.preventDefault();
    });
  }

  // Commands are copied whole. A page from disk may lack the clipboard; then the text is selected.
  const copy = async (text, element) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      getSelection().selectAllChildren(element);
      return document.execCommand("copy");
    }
  };
  document.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    const command = button.parentElement.querySelector("code");
    const say = (word) => {
      button.textContent = word;
      button.setAttribute("aria-label", `${word} ${command.textContent}`);
    };
    say((await copy(command.textContent, command)) ? "Copied" : "Selected");
    byId("copied").textContent = `${button.textContent}: ${command.textContent}`;
    setTimeout(() => say("Copy"), 2000);
  });
})();
