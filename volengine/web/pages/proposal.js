// A training box that "Where next" proposes on a slice: one key takes it, another one leads to the next patch.

const $ = (id) => document.getElementById(id);

export class Proposal {
  // page: the tomogram and the slice
  constructor(page) {
    this.page = page;
    $("proposalTake").addEventListener("click", () => this.take());
    $("proposalNext").addEventListener("click", () => this.next());
  }

  get here() {
    const patch = this.page.bench.patch;
    return patch && patch.number === this.page.number ? patch : null;
  }

  // The patch that was asked for, if this is its tomogram: its slice and its feature.
  async begin() {
    const patch = this.here;
    $("proposing").hidden = !patch;
    if (!patch || !this.page.bench.patchAsked) return; // else its tomogram was opened for itself
    this.page.bench.patchAsked = false;
    $("proposalSaid").textContent = `Patch ${patch.rank}: ${patch.feature}, slice ${patch.slice}`;
    $("proposalTake").disabled = patch.done;
    if (this.page.state.features.some((one) => one.name === patch.feature)) this.page.choose(patch.feature);
    await this.page.turnTo("z", patch.slice);
    document.body.dataset.proposed = String(patch.rank);
  }

  async take() {
    const { here: patch, page } = this;
    if (!patch || patch.done) return;
    patch.done = true; // once
    $("proposalTake").disabled = true;
    if (!page.state.features.some((one) => one.name === patch.feature)) await page.send({ op: "feature", feature: patch.feature });
    const [z, y, x, ...ends] = patch.box;
    const box = [z, y, x].map((start, at) => `${start}:${ends[at]}`).join(",");
    await page.send({ op: "box", feature: patch.feature, box });
    if (document.body.dataset.state === "wrong") patch.done = $("proposalTake").disabled = false;
    else if (page.number === patch.number) page.choose(patch.feature);
  }

  next() {
    const { bench } = this.page;
    const after = (bench.patches ?? []).find((one) => one.number !== null && !one.done && one.rank > bench.patch.rank);
    if (!after) return bench.say("That was the last patch. Find others in Teach, by a model that was trained on these.");
    Object.assign(bench, { patch: after, patchAsked: true });
    if (after.number !== this.page.number) return bench.show(after.number);
    return bench.trying(() => this.begin());
  }

  paint(context, pixel) {
    const patch = this.here;
    if (!patch || patch.done || this.page.axis !== "z" || this.page.index !== patch.slice) return;
    const [, top, left, , bottom, right] = patch.box;
    for (const [colour, width] of [["#000a", 4], ["#35e0ff", 2]]) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.setLineDash([3 * pixel, 3 * pixel]);
      context.strokeRect(left, top, right - left, bottom - top);
    }
    context.setLineDash([]);
  }
}
