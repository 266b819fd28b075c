// Runs of the project, and all its jobs: started, watched and stopped here, but processes of their own. One request
// every two seconds asks for all of it, while the section is open.
import { get, post, quoted, typed } from "./server.js";

const $ = (id) => document.getElementById(id);
const EVERY_MS = 2000;
const GOING = ["waiting", "running", "stopping"];
const EXAMPLE = `segment:
  models: [cytoplasm]
pick:
- feature: ribosome
  threshold: 0.5
  spacing_nm: 20
`;

function made(tag, text = "", more = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, more);
}

function lasted(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 6000) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

function state(name) {
  const mark = made("span", name, { className: "state" });
  mark.dataset.state = name;
  return mark;
}

export class Run {
  constructor(bench) {
    this.bench = bench;
    this.watched = 0; // number of the job that is shown
    this.recipes = [];
    for (const id of ["runRecipe", "runTomograms", "runCluster", "runWorkers"]) $(id).addEventListener("input", () => this.describe());
    $("runStart").addEventListener("click", () => this.start());
    $("runShowRecipe").addEventListener("click", () => this.askRecipe($("runRecipe").value));
    $("runNewRecipe").addEventListener("click", () => this.askRecipe(""));
    $("recipeKeep").addEventListener("click", () => this.keepRecipe());
    $("recipeFile").addEventListener("change", () => this.readFile());
    $("jobStop").addEventListener("click", () => this.act("stop"));
    $("jobAgain").addEventListener("click", () => this.act("again"));
    $("jobCopy").addEventListener("click", () => this.copy());
    $("jobTune").addEventListener("click", () => bench.show(bench.number ?? 0, "tune"));
    $("jobPicks").addEventListener("click", () => (location.hash = "picks"));
  }

  async refresh() {
    await this.refreshChoices();
    await this.look();
    clearInterval(this.timer);
    this.timer = setInterval(() => {
      if (this.bench.section === "run" && !document.hidden) this.bench.trying(() => this.look());
    }, EVERY_MS);
  }

  // -- from other sections ----------------------------------------------------------------------------------

  // A new run, to begin with a model of the project: its recipe is proposed.
  predict(name) {
    location.hash = "run";
    const text = `# Predictions of ${name}. Then section Tune: thresholds and picks on them, and a recipe with both.\nsegment:\n  models: [${JSON.stringify(`models/${name}`)}]\n`;
    return this.askRecipe("", text, name.replace(/\.[^.]*$/, "").slice(0, 64));
  }

  // A new run with a recipe.
  choose(name) {
    this.wanted = name;
    location.hash = "run";
  }

  // -- a new run --------------------------------------------------------------------------------------------

  async refreshChoices() {
    const found = await get("api/runs");
    this.found = found;
    if (found.unread.length) $("runSaid").textContent = found.unread.join("\n");
    this.options("runRecipe", found.recipes.map(({ name, error }) => [name, error ? `${name} (cannot be used)` : name]));
    if (this.wanted && found.recipes.some(({ name }) => name === this.wanted)) $("runRecipe").value = this.wanted;
    this.wanted = "";
    const chosen = found.manifest ? [] : (this.bench.sections?.gallery.items ?? []).filter((one) => one.chosen);
    const count = this.bench.facts.tomograms.length;
    const all = found.manifest ? `all of ${found.manifest}` : count === 1 ? "the tomogram" : `all ${count} tomograms`;
    const lists = Object.entries(found.lists).map(([name, count]) => [`list ${name}`, `list ${name} (${count})`]);
    this.selected = chosen.map((one) => one.number);
    const some = chosen.length ? [["selected", `${chosen.length} selected in the gallery`]] : [];
    this.options("runTomograms", [["all", all], ...some, ...lists]);
    this.options("runCluster", [["", "this machine"], ...found.clusters.map((name) => [name, name])]);
    this.describe();
  }

  options(id, options) {
    const before = $(id).value;
    $(id).replaceChildren(...options.map(([value, text]) => made("option", text, { value })));
    if (options.some(([value]) => value === before)) $(id).value = before;
  }

  describe() {
    const recipe = this.found.recipes.find(({ name }) => name === $("runRecipe").value);
    $("runSteps").textContent = recipe ? (recipe.error ?? recipe.steps.join(" → ")) : "No recipe yet: Predict… in Teach or Models proposes one, Tune saves one; or write one.";
    $("runSteps").classList.toggle("fault", Boolean(recipe?.error));
    $("runStart").disabled = !recipe || Boolean(recipe.error) || !this.bench.facts.writable;
    $("runShowRecipe").disabled = !recipe;
    const on = $("runTomograms").value;
    const sources = on === "selected" ? this.selected.map((number) => this.found.sources[number]) : this.found.sources;
    const list = on.startsWith("list ") ? quoted(`lists/${on.slice(5)}.txt`) : this.found.manifest ? quoted(this.found.manifest) : sources.every(Boolean) ? sources.map(quoted).join(" ") : null;
    const workers = Number($("runWorkers").value) ? ` --workers ${Number($("runWorkers").value)}` : "";
    const cluster = $("runCluster").value ? ` --cluster ${$("runCluster").value}` : "";
    // What cannot be started here is no command either.
    $("runCommand").textContent = !recipe || !list ? "" : `cd ${this.found.folder}\nvolengine run ${quoted(`recipes/${recipe.name}.yaml`)} ${list} --out .${workers}${cluster}`;
  }

  async start() {
    const on = $("runTomograms").value;
    const tomograms = on === "all" ? "all" : on === "selected" ? this.selected : { list: on.slice(5) };
    $("runStart").disabled = true;
    try {
      const job = await post("api/runs", {
        recipe: $("runRecipe").value,
        tomograms,
        workers: typed($("runWorkers")),
        cluster: $("runCluster").value || null,
      });
      $("runSaid").textContent = "";
      this.watched = job.number;
      await this.look();
    } catch (error) {
      $("runSaid").textContent = error.message;
    } finally {
      this.describe();
    }
  }

  async askRecipe(name, text = EXAMPLE, proposed = name) {
    $("recipeSaid").textContent = "";
    $("recipeName").value = proposed;
    $("recipeReplace").checked = false;
    $("recipeFile").value = "";
    $("recipeText").value = text;
    await this.bench.trying(async () => {
      if (name) $("recipeText").value = (await get(`api/runs/recipes?name=${encodeURIComponent(name)}`)).text;
      $("recipeDialog").showModal();
    });
  }

  async readFile() {
    const [file] = $("recipeFile").files;
    if (!file) return;
    $("recipeText").value = await file.text();
    $("recipeName").value ||= file.name.replace(/\.ya?ml$/i, "");
  }

  async keepRecipe() {
    try {
      const { name } = await post("api/runs/recipes", {
        name: $("recipeName").value.trim(),
        text: $("recipeText").value,
        replace: $("recipeReplace").checked,
      });
      $("recipeDialog").close();
      await this.refreshChoices();
      $("runRecipe").value = name;
      this.describe();
    } catch (error) {
      $("recipeSaid").textContent = error.message;
    }
  }

  // -- jobs -------------------------------------------------------------------------------------------------

  async look() {
    const asked = this.watched;
    const { jobs, watched } = await get(`api/jobs?watched=${asked}`);
    if (asked !== this.watched) return; // another one was chosen meanwhile
    this.fillJobs(jobs);
    if (!asked && jobs.length) {
      this.watched = jobs[0].number;
      await this.look();
      return;
    }
    $("job").hidden = !watched;
    if (watched) this.fillJob(watched);
    document.body.dataset.job = watched ? `${watched.number} ${watched.state}` : "";
  }

  fillJobs(jobs) {
    $("noJobs").hidden = jobs.length > 0;
    const focused = document.activeElement?.dataset?.job;
    $("jobs").replaceChildren(...jobs.map((job) => this.row(job)));
    if (focused) $("jobs").querySelector(`button[data-job="${Number(focused)}"]`)?.focus();
  }

  row(job) {
    const row = made("tr");
    row.setAttribute("aria-current", String(job.number === this.watched));
    const button = made("button", `${job.number} ${job.kind}`, { type: "button", title: "Show this job" });
    button.dataset.job = job.number;
    button.addEventListener("click", () => {
      this.watched = job.number;
      this.bench.trying(() => this.look());
    });
    const began = job.started ?? job.created;
    const end = job.ended ?? (GOING.includes(job.state) ? Date.now() / 1000 : null);
    const took = job.started && end ? lasted(Math.max(0, end - job.started)) : "";
    const cells = [button, job.title, state(job.state), began ? new Date(began * 1000).toLocaleString() : "", took];
    row.append(...cells.map((one) => {
      const cell = made("td");
      cell.append(one);
      return cell;
    }));
    return row;
  }

  fillJob(job) {
    $("jobHead").textContent = `Job ${job.number} (${job.kind}): ${job.title}`;
    $("jobState").textContent = job.state;
    $("jobState").dataset.state = job.state;
    $("jobWhy").textContent = job.why;
    $("jobWhy").classList.toggle("fault", ["failed", "killed"].includes(job.state));
    $("jobStop").hidden = !GOING.includes(job.state);
    $("jobStop").textContent = job.state === "stopping" ? "End at once" : "Stop";
    $("jobAgain").hidden = GOING.includes(job.state) || job.kind !== "run";
    $("jobAgain").textContent = job.state === "done" ? "Start again" : "Go on";
    $("jobCommand").textContent = job.shell;
    const low = $("jobLog").scrollTop + $("jobLog").clientHeight >= $("jobLog").scrollHeight - 4;
    if ($("jobLog").textContent !== job.log) $("jobLog").textContent = job.log;
    if (low) $("jobLog").scrollTop = $("jobLog").scrollHeight;
    this.fillProgress(job.progress);
  }

  fillProgress(found) {
    $("jobProgress").hidden = !found;
    if (!found) return;
    $("jobBar").max = Math.max(1, found.total);
    $("jobBar").value = found.counts.finished;
    const counts = Object.entries(found.counts).filter(([, count]) => count).map(([name, count]) => `${count} ${name}`);
    const rate = found.per_hour ? [`${found.per_hour} an hour`] : [];
    const left = found.left_s !== null ? [`about ${lasted(found.left_s)} left`] : [];
    const said = [`${found.total} tomogram${found.total === 1 ? "" : "s"}: ${counts.join(", ")}`, ...rate, ...left].join("; ");
    if ($("jobCounts").textContent !== said) $("jobCounts").textContent = said;
    $("jobFailed").replaceChildren(...found.failed.map(({ name, why }) => made("li", why.startsWith(`${name}: `) ? why : `${name}: ${why}`)));
    $("jobRunning").replaceChildren(...found.running.map(({ name, done, units, stage }) => made("li", `${name}: ${done} of ${units} units${stage ? `, ${stage}` : ""}`)));
    $("jobNext").hidden = !found.counts.finished;
    $("jobReport").textContent = found.report ? `Pages of what was found: ${found.report}` : "";
  }

  async act(what) {
    await this.bench.trying(async () => {
      const job = await post(`api/jobs/${this.watched}/${what}`, {});
      this.watched = job.number;
      await this.look();
    });
  }

  async copy() {
    try {
      await navigator.clipboard.writeText($("jobCommand").textContent);
      this.bench.say("Copied.");
    } catch {
      getSelection().selectAllChildren($("jobCommand")); // not over plain HTTP beyond loopback: Ctrl-C copies it
    }
  }
}
