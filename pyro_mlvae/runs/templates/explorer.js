// Swaps, evidence, paths and sliders, decoded in the page.
window.explorer = (() => {
  const page = document.getElementById("explorer");
  const { about, tensors, at, decode } = readExplorer(document.getElementById("explorer-data").textContent);
  const [channels, height, width] = about.shape;
  const values = tensors["x.style"].shape[1];
  const contents = about.sizes.length, styles = about.names.length - contents;
  const most = tensors["content.loc"].shape[1];
  const [contentDim, styleDim] = [tensors["content.loc"].shape[2], tensors["style.style"].shape[1]];
  const steps = 9, reach = 3, mostSliders = 32, missing = 255, shades = 254;
  // Donors of content and of style, how many observations content is from, and the code that is decoded.
  const state = { content: 0, style: 0, count: 1, code: new Float32Array(contentDim + styleDim) };

  // From 0, drawn darkest or lowest, to 1; NaN where there is nothing.
  const seen = x => x.map((v, i) => {
    const low = spread(tensors.low.data, i);
    return (v - low) / (spread(tensors.high.data, i) - low);
  });
  const shown = bytes => Float32Array.from(bytes, v => (v === missing ? NaN : v / shades));

  // The picture of content from the first `count` observations of a donor's group, with a style.
  function picture(content, count, style, code) {
    if (about.why) return shown(at("sprites", content, count - 1, style));
    return seen(decode(code ?? [...at("content.loc", content, count - 1), ...at("style.style", style)]));
  }

  // Painting.

  function paint(canvas, x) {
    const context = canvas.getContext("2d");
    if (about.kind === "profile") return profile(canvas, context, x);
    const colour = channels === 3, across = colour ? 1 : Math.ceil(Math.sqrt(channels));
    canvas.width = across * width;
    canvas.height = colour ? height : Math.ceil(channels / across) * height;
    const image = context.createImageData(canvas.width, canvas.height);
    // Channels that are not three of colour stand side by side.
    for (let c = 0; c < (colour ? 1 : channels); c++) for (let i = 0; i < height * width; i++) {
      const row = Math.floor(c / across) * height + Math.floor(i / width);
      const pixel = 4 * (row * canvas.width + (c % across) * width + (i % width));
      for (let part = 0; part < 3; part++) {
        const place = (colour ? part : c) * height * width + i, v = place < values ? x[place] : NaN;
        image.data[pixel + part] = 255 * (about.ink ? 1 - v : v);
        image.data[pixel + 3] = Number.isNaN(v) ? 0 : 255;
      }
    }
    context.putImageData(image, 0, 0);
  }

  function profile(canvas, context, x) {
    canvas.width = 240;
    canvas.height = 150;
    context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
    context.lineWidth = 3;
    context.beginPath();
    x.forEach((v, i) => {
      const place = [((i + 0.5) / values) * 240, 141 - 132 * Math.min(1, Math.max(0, v))];
      context[i && !Number.isNaN(x[i - 1]) ? "lineTo" : "moveTo"](...place);
      if (values <= 12 && !Number.isNaN(v)) context.fillRect(place[0] - 4, place[1] - 4, 8, 8);
    });
    context.stroke();
  }

  // Controls.

  function element(tag, parent, properties = {}) {
    return parent.appendChild(Object.assign(document.createElement(tag), properties));
  }

  // A row of canvases of which one is chosen, by click, touch or arrow keys: radio buttons.
  function row(name, count, canvases, label, choose) {
    const parent = page.querySelector(`[data-row=${name}]`), inputs = [], cells = [];
    for (let i = 0; i < count; i++) {
      const cell = element("label", parent);
      inputs.push(element("input", cell, { type: "radio", name, ariaLabel: label(i), onchange: () => choose(i) }));
      cells.push([...Array(canvases)].map(() => element("canvas", cell)));
      cells[i].caption = element("span", cell);
      cells[i].label = cell;
    }
    return { inputs, cells };
  }

  const rows = {
    content: row("content", contents, 1, i => `content of ${about.names[i]}`, i => {
      state.content = i;
      state.count = Math.min(state.count, about.sizes[i]);
      start();
    }),
    style: row("style", styles, 1, i => `style of ${about.names[contents + i]}`, i => {
      state.style = i;
      start();
    }),
    evidence: row("evidence", most, 2, i => `content of the first ${i + 1} of the group`, i => {
      state.count = i + 1;
      start();
    }),
    path: about.why ? null : row("path", steps, 1, i => `step ${i + 1} of ${steps} between the two`, i => {
      state.code = path(i / (steps - 1));
      show(`step ${i + 1} of ${steps} from the one observation to the other`);
    }),
  };

  function path(t) {
    const from = [...at("content.loc", state.content, state.count - 1), ...at("content.style", state.content)];
    const to = [...at("style.content", state.style), ...at("style.style", state.style)];
    return Float32Array.from(from, (v, i) => (1 - t) * v + t * to[i]);
  }

  // Of each site the dimensions that vary most between the donors.
  function varying(name, dim, count) {
    const variance = d => {
      const all = [...Array(count)].map((_, i) => (name === "content" ? at("content.loc", i, 0) : at("style.style", i))[d]);
      const mean = all.reduce((a, b) => a + b) / count;
      return all.reduce((sum, v) => sum + (v - mean) ** 2, 0);
    };
    const order = [...Array(dim).keys()].map(d => [variance(d), d]).sort((a, b) => b[0] - a[0]);
    return order.slice(0, mostSliders).map(([, d]) => d);
  }

  const sliders = new Map();
  if (!about.why) for (const [name, dim, count, offset] of [
    ["content", contentDim, contents, 0], ["style", styleDim, styles, contentDim],
  ]) for (const d of varying(name, dim, count)) {
    const label = element("label", page.querySelector(`[data-sliders=${name}]`), { textContent: `${name} ${d}` });
    const input = element("input", label, { type: "range", min: -reach, max: reach, step: 0.01 });
    input.oninput = () => {
      state.code[offset + d] = Number(input.value);
      show(`${name} ${d} set to ${Number(input.value).toFixed(2)}`);
    };
    sliders.set(offset + d, input);
  }

  // Showing.

  const big = page.querySelector("[data-result] canvas"), text = page.querySelector("[data-result] figcaption");
  const mean = x => x.reduce((a, b) => a + b, 0) / x.length;
  let strips;

  function show(what) {
    paint(big, picture(state.content, state.count, state.style, state.code));
    sliders.forEach((input, d) => { input.value = state.code[d]; });
    text.textContent = what;
  }

  // A new pair: its swap at once, and then the rows that depend on it.
  function start() {
    state.code = Float32Array.from([
      ...at("content.loc", state.content, state.count - 1), ...at("style.style", state.style),
    ]);
    const number = state.count === 1 ? "1 observation" : `${state.count} observations`;
    const scale = mean(at("content.scale", state.content, state.count - 1)).toFixed(2);
    show(`Content of group ${about.names[state.content]}, from ${number} (posterior scale ${scale}, prior 1). ` +
      `Style of an observation of group ${about.names[contents + state.style]}.`);
    for (const [name, i] of [["content", state.content], ["style", state.style], ["evidence", state.count - 1]]) {
      rows[name].inputs[i].checked = true;
    }
    rows.path?.inputs.forEach(input => { input.checked = false; });
    clearTimeout(strips);
    strips = setTimeout(() => {
      rows.evidence.cells.forEach((cell, k) => {
        cell.label.hidden = k >= about.sizes[state.content];
        if (cell.label.hidden) return;
        paint(cell[0], shown(at("x.content", state.content, k)));
        paint(cell[1], picture(state.content, k + 1, state.style));
        cell.label.classList.toggle("later", k >= state.count);
        cell.caption.textContent = mean(at("content.scale", state.content, k)).toFixed(2);
      });
      rows.path?.cells.forEach(([canvas], i) => paint(canvas, seen(decode(path(i / (steps - 1))))));
    });
  }

  function draw() {
    rows.content.cells.forEach(([canvas], i) => paint(canvas, shown(at("x.content", i, 0))));
    rows.style.cells.forEach(([canvas], i) => paint(canvas, shown(at("x.style", i))));
    start();
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  // Lines, and pictures that are shown smaller than they are, have no pixels to see.
  page.classList.toggle("smooth", about.kind === "profile" || width > 48);
  page.querySelector("[data-app]").hidden = false;
  draw();
  return { decode, state };
})();
