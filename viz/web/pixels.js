// Pixels that belong together inside an operation: a cell of ∂x and its window in ∂y, a pooled cell and its winner.

/** Find the grids of cells in a picture by operation, and light what belongs to the cell under the pointer. */
function followPixels(picture) {
  if (picture.level.level !== "op") return;
  for (const card of picture.cards.values()) {
    const { crops, route } = card.data;
    if (!crops || !route) continue;
    const cells = { forward: [], backward: [] };
    for (const element of card.elements) {
      const side = { f: "forward", b: "backward" }[element.dataset.part];
      const grids = side ? gridsIn(element) : [];
      if (!side || grids.length !== (crops[side] || []).length) continue;
      cells[side] = grids;
      grids.forEach((grid, index) => grid.forEach((cell, place) => {
        const columns = crops[side][index].size[1];
        cell.dataset.cell = [side, index, Math.floor(place / columns), place % columns].join(" ");
      }));
    }
    card.cells = cells;
  }
}

/** The cells of each grid in an element, row by row; a grid is a filled rectangle with smaller ones on it. */
function gridsIn(element) {
  const grids = [];
  let ground = null;
  for (const polygon of all("polygon", element)) {
    const box = polygon.getBBox();
    const fill = polygon.getAttribute("fill");
    if (fill.toLowerCase() === data.grid.toLowerCase()) {
      ground = box;
      grids.push([]);
    } else if (ground && fill !== "none" && inside(box, ground)) {
      grids.at(-1).push({ polygon, box });
    }
  }
  const order = (a, b) => Math.round(a.box.y - b.box.y) || a.box.x - b.box.x;
  return grids.map((grid) => grid.sort(order).map((cell) => cell.polygon));
}

function inside(box, ground) {
  const slack = 0.6;
  return box.x >= ground.x - slack && box.y >= ground.y - slack
    && box.x + box.width <= ground.x + ground.width + slack && box.y + box.height <= ground.y + ground.height + slack;
}

/** Ring the cells that belong to one, and say how; returns the words. */
function lightCells(card, cell) {
  darkCells(card);
  const here = cell.dataset.cell.split(" ").map((word, i) => (i ? Number(word) : word));
  const found = { convolution: throughConvolution, pool: throughPool, cells: sameCell }[card.data.route.kind](card.data, here);
  ring(cell, "self");
  for (const [side, grid, row, column] of found.cells) {
    const columns = card.data.crops[side]?.[grid]?.size[1];
    const other = card.cells[side]?.[grid]?.[row * columns + column];
    if (other && other !== cell) ring(other, "");
  }
  return found.words;
}

function darkCells(card) {
  for (const element of card.elements) for (const glow of all(".glow", element)) glow.remove();
}

function ring(cell, kind) {
  const { x, y, width, height } = cell.getBBox();
  cell.closest(".node").append(draw("rect", { class: `glow ${kind}`, x, y, width, height }));
}

function valueAt(card, [side, grid, row, column]) {
  return card.crops[side][grid].values[row][column];
}

/** A cell's place in the whole map: the crop begins at `at`. */
function placeOf(card, [side, grid, row, column]) {
  const { at } = card.crops[side][grid];
  return [at[0] + row, at[1] + column];
}

// ---- convolution -------------------------------------------------------------------------------------------------

/** ∂x[i, j] = Σ over taps (a, b) of ∂y[i + p − a d, j + p − b d] W[a, b], with zeros between ∂y's entries by stride. */
function tapsOf(card, side, row, column) {
  const { kernel, padding, dilation, stride, gaps } = card.route;
  const [target, source] = side === "backward" ? [2, 0] : [2, 0];
  const grids = card.crops[side];
  const [i, j] = placeOf(card, [side, target, row, column]);
  const [height, width] = grids[source].size;
  const taps = [];
  for (let a = 0; a < kernel[0]; a += 1) {
    for (let b = 0; b < kernel[1]; b += 1) {
      const place = side === "backward" ? [i + padding[0] - a * dilation[0], j + padding[1] - b * dilation[1]]
        : [i * stride[0] - padding[0] + a * dilation[0], j * stride[1] - padding[1] + b * dilation[1]];
      if (side === "backward" && gaps[0] === 1 && place.some((p, axis) => p % stride[axis])) continue;
      const scaled = side === "backward" && gaps[0] === 1 ? place.map((p, axis) => p / stride[axis]) : place;
      const [r, c] = [scaled[0] - grids[source].at[0], scaled[1] - grids[source].at[1]];
      const weight = side === "backward" ? [kernel[0] - 1 - a, kernel[1] - 1 - b] : [a, b]; // rot180 W is drawn
      const seen = r >= 0 && c >= 0 && r < height && c < width;
      taps.push({ weight: [side, 1, ...weight], source: seen ? [side, source, r, c] : null });
    }
  }
  return taps;
}

function throughConvolution(card, here) {
  const [side, grid, row, column] = here;
  const grids = card.crops[side];
  if (grids.length < 3) { // the kernel alone, in the forward card: where it stands when it is turned
    const [kh, kw] = card.route.kernel;
    const turned = card.crops.backward?.length === 3 ? [["backward", 1, kh - 1 - row, kw - 1 - column]] : [];
    const value = number(valueAt(card, here), 3);
    return { cells: turned, words: `${grids[grid].label}[${row},${column}] = ${value}; backward turns it by 180°` };
  }
  const names = side === "backward" ? ["∂y", "rot180 W", "∂x"] : ["x", "W", "y"];
  const value = number(valueAt(card, here), 3);
  const place = placeOf(card, here).join(",");
  if (grid === 2) {
    const taps = tapsOf(card, side, row, column);
    const seen = taps.filter((tap) => tap.source);
    const cells = seen.flatMap((tap) => [tap.source, tap.weight]);
    const sum = seen.reduce((total, tap) => total + valueAt(card, tap.source) * valueAt(card, tap.weight), 0);
    const part = grids[2].label.includes("Σ") ? `, of which ${number(sum, 3)} by this window; the other output channels add the rest` : "";
    const window = `its window in ${names[0]} (${seen.length} of ${taps.length} in sight) times the weights ringed`;
    return { cells, words: `${names[2]}[${place}] = ${value}: ${window}${part}` };
  }
  const cells = [];
  for (let r = 0; r < grids[2].size[0]; r += 1) {
    for (let c = 0; c < grids[2].size[1]; c += 1) {
      for (const tap of tapsOf(card, side, r, c)) {
        const other = grid === 0 ? tap.weight : tap.source;
        const mine = grid === 0 ? tap.source : tap.weight;
        if (mine && mine[2] === row && mine[3] === column) cells.push([side, 2, r, c], ...(other ? [other] : []));
      }
    }
  }
  const used = cells.filter(([, index]) => index === 2).length;
  return { cells, words: `${names[grid]}[${place}] = ${value} is used by ${used} cells of ${names[2]} in sight` };
}

// ---- pools and rectifiers ----------------------------------------------------------------------------------------

/** Each window has four places: its output and its winner, forward and backward. */
function throughPool(card, here) {
  const [side, grid, row, column] = here;
  const forward = card.crops.forward;
  const rings = forward[0].rings;
  const columns = forward[1].size[1];
  const pooled = side === "forward" ? grid === 1 : grid === 0;
  const windows = rings.map((_, i) => i).filter((i) => (pooled
    ? i === row * columns + column : rings[i][0] === row && rings[i][1] === column));
  const cells = windows.flatMap((i) => {
    const output = [Math.floor(i / columns), i % columns];
    return [["forward", 0, ...rings[i]], ["forward", 1, ...output], ["backward", 0, ...output], ["backward", 1, ...rings[i]]];
  });
  const value = `${number(valueAt(card, here), 3)}`;
  const place = placeOf(card, here).join(",");
  if (!windows.length) return { cells, words: `[${place}] = ${value}: not the largest of its window, so no gradient reaches it` };
  const [r, c] = placeOf(card, ["forward", 0, ...rings[windows[0]]]);
  const won = `won by x[${r},${c}], which gets all of the gradient`;
  const winner = `the winner of ${windows.length > 1 ? `${windows.length} windows` : "its window"}`;
  return { cells, words: `[${place}] = ${value}: ${pooled ? won : winner}` };
}

/** A rectifier: the same place before and after. */
function sameCell(card, here) {
  const [, , row, column] = here;
  const cells = [["forward", 0, row, column], ["backward", 0, row, column], ["backward", 1, row, column]];
  const passes = valueAt(card, ["forward", 0, row, column]) > 0;
  return { cells, words: passes ? "x > 0: the gradient passes as it is" : "x ≤ 0: the gradient stops here" };
}
