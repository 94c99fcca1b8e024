// What a browser makes of `rewarm report`: no script error, every curve there, values on hover those of the log, and quick; and
// of `--serve`: new points come while what a reader chose stays, a server that ends is missed and found again.
// Usage: tools/report_test.sh, which brings what this needs; or node tools/report_test.mjs REWARM PLAYWRIGHT OUTDIR.
import { createRequire } from "node:module";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import assert from "node:assert";

const [rewarm, playwright, out] = process.argv.slice(2).map((path) => resolve(path));
const { chromium } = createRequire(join(playwright, "package.json"))("playwright-core");

// Lines of the log of a run of `steps` steps with two validation sets, of which one is forgotten and one learned.
function logLines(seed, steps) {
  const lines = [];
  const put = (line) => lines.push(JSON.stringify(line));
  const evaluate = (step) => {
    const part = step / steps;
    put({ step, eval: "old", loss: 2.2 + 0.2 * (seed + 1) * Math.sqrt(part) });
    put({ step, eval: "new", loss: 3.2 - 0.15 * (seed + 2) * Math.sqrt(part) });
  };
  evaluate(0);
  for (let step = 1; step <= steps; step++) {
    const loss = 2.5 + 40 / (step + 10) + Math.sin(step * (seed + 3)) / 9;
    put({
      step, tokens: step * 2097152, loss, grad_norm: 1 + Math.cos(step) / 3, lr: 3e-4 * (1 - step / (2 * steps)),
      tokens_per_s: 1e5, gflop_per_s: 2.4e5, time: 1.7e9 + 20 * step,
    });
    if (step % Math.ceil(steps / 50) === 0) evaluate(step);
  }
  return lines;
}

function run(name, seed, steps) {
  mkdirSync(join(out, name), { recursive: true });
  writeFileSync(join(out, name, "metrics.jsonl"), logLines(seed, steps).join("\n") + "\n");
  const role = (set, of) => `[[data.validation]]\nname = "${set}"\nrole = "${of}"\n`;
  const start = seed > 0 ? "[start]\nfrom = \"model\"\n" : ""; // the first one is from scratch
  writeFileSync(join(out, name, "config.toml"), `seed = ${seed}\n${start}${role("old", "retain")}${role("new", "learn")}`);
}

// Made of `count` runs, opened in this colour scheme.
async function page(browser, count, steps, scheme) {
  const names = [...Array(count).keys()].map((i) => `run-${i}-of-${count}`);
  names.forEach((name, i) => run(name, i, steps));
  const file = join(out, `report-${count}.html`);
  execFileSync(rewarm, ["report", ...names, "-o", file], { cwd: out, stdio: ["ignore", "ignore", "inherit"] });
  return { ...(await open(browser, pathToFileURL(file).href, "file:", scheme)), file };
}

// Opens a page, which may ask only for what begins with `from`.
async function open(browser, url, from, scheme) {
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1280, height: 900 } });
  const opened = await context.newPage();
  const errors = [];
  opened.on("pageerror", (error) => errors.push(String(error)));
  opened.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  opened.on("request", (request) => request.url().startsWith(from) || errors.push(`asks for ${request.url()}`));
  const started = performance.now();
  await opened.goto(url);
  await opened.waitForFunction(() => document.documentElement.dataset.charts);
  const seconds = (performance.now() - started) / 1000;
  return { opened, errors, seconds };
}

async function serve(address) {
  const child = spawn(rewarm, ["report", "live", "--serve", address], { cwd: out, stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => child.kill()); // also after a failure
  const [said] = await once(child.stdout, "data");
  return { child, url: String(said).trim() };
}

async function end({ child }, signal) {
  child.kill(signal);
  await once(child, "exit");
}

// What a reader chose on a page, as it is shown.
const chosen = (opened) => opened.evaluate(() => ({
  shown: charts.map(({ plot }) => [plot.scales.x.min, plot.scales.x.max]),
  view: [view.x, view.log, view.smooth, document.querySelector(".bar select").value],
  hidden: charts.flatMap(({ title, plot }) => plot.series.filter((series) => !series.show).map(({ label }) => [title, label])),
  sorted: [...document.querySelectorAll("th[aria-sort]")].map((head) => head.textContent + head.getAttribute("aria-sort")),
  scatter: [...document.querySelectorAll(".card select")].map((select) => select.value),
  scrolled: scrollY,
}));

async function live(browser, scheme) {
  rmSync(join(out, "live"), { recursive: true, force: true });
  mkdirSync(join(out, "live/ancestors"), { recursive: true });
  const more = logLines(0, 400).filter((line) => JSON.parse(line).step > 300);
  const grow = (count) => appendFileSync(join(out, "live/cells/b/metrics.jsonl"), more.splice(0, count).map((line) => line + "\n").join(""));
  const steps = (count) => opened.waitForFunction((count) => last(runs.find((run) => run.name === "b").loss.step) >= count, count, { timeout: 15000 });
  let server = await serve("127.0.0.1:0");
  const { opened, errors } = await open(browser, server.url, server.url, scheme);
  await opened.waitForFunction(() => document.querySelector(".heard").textContent.startsWith("live, heard at"));
  assert.equal(await opened.evaluate(() => runs.length), 0, "a study without cells has a page");
  for (const [i, name] of ["b", "c"].entries()) run(`live/cells/${name}`, i, 300);
  await opened.waitForFunction(() => runs.length === 2, undefined, { timeout: 15000 });
  await opened.evaluate(() => (window.training = charts.find((chart) => chart.title.startsWith("Training"))));

  // Choices by mouse and keys.
  await opened.selectOption(".bar select", "step");
  await opened.check(".bar input[type=checkbox]");
  await opened.locator(".bar input[type=range]").first().fill("0.5");
  await opened.locator("table.grid").first().locator("thead th").nth(3).click();
  await opened.locator("table.grid").first().locator("thead th").nth(3).click();
  await opened.selectOption(".card select >> nth=0", "new");
  await opened.locator(".uplot").first().locator(".u-legend .u-series th").nth(2).click();
  const over = opened.locator(".u-over").nth(3);
  await over.scrollIntoViewIfNeeded();
  const box = await over.boundingBox();
  await opened.mouse.move(box.x + box.width * 0.25, box.y + 50);
  await opened.mouse.down();
  await opened.mouse.move(box.x + box.width * 0.6, box.y + 50, { steps: 4 });
  await opened.mouse.up();
  await opened.mouse.move(box.x + box.width * 0.5, box.y + 60);
  await opened.waitForTimeout(100);
  const before = await chosen(opened);
  assert(before.shown.every(([min, max]) => min > 50 && max < 220 && min === before.shown[0][0]), JSON.stringify(before.shown));
  assert.deepEqual([before.hidden, before.view, before.scatter[0]], [[["new: loss, nats per token", "c"]], ["step", true, 0.5, "step"], "new"]);
  assert.deepEqual(before.sorted, ["training lossdescending"]);

  // New points, then another run that sorts before the others.
  const plots = await opened.evaluateHandle(() => charts.map((chart) => chart.plot));
  grow(20);
  await steps(310);
  assert.deepEqual(await chosen(opened), before, "new points change nothing that was chosen");
  assert(await opened.evaluate((plots) => charts.every((chart, i) => chart.plot === plots[i]), plots), "plots are not made anew");
  assert(await opened.evaluate(() => training.plot.cursor.idx > 0 && training.plot.data[0].at(-1) >= 310), "the cursor stays");
  const third = "a<img src=x onerror=throw(1)>";
  run(`live/cells/${third}`, 2, 200);
  await opened.waitForFunction(() => runs.length === 3, undefined, { timeout: 15000 });
  assert.deepEqual(await chosen(opened), before, "nor does another run");
  assert.deepEqual(await opened.evaluate(() => runs.map((run) => run.name)), ["b", "c", third], "colours stay");
  assert.equal(await opened.locator("img").count(), 0, "a name is text");
  assert.equal(await opened.evaluate(() => training.plot.series.length), 4, "it is drawn");
  await opened.mouse.dblclick(box.x + box.width * 0.5, box.y + 60);
  await opened.waitForTimeout(100);
  assert((await chosen(opened)).shown.every(([min, max]) => min === 0 && max >= 310), "a double click shows all");
  assert.deepEqual(errors, []);

  // A server that ends, and another one in its place.
  await end(server, "SIGKILL");
  await opened.waitForFunction(() => document.querySelector(".heard.lost")?.textContent.startsWith("not connected since"));
  await opened.screenshot({ path: join(out, `live-${scheme}-lost.png`) });
  appendFileSync(join(out, "live/cells/c/metrics.jsonl"), "{}}\n");
  grow(20);
  server = await serve(new URL(server.url).host);
  await steps(320);
  assert((await chosen(opened)).shown.every(([, max]) => max >= 320), "what is not zoomed grows");
  assert.match(await opened.locator(".heard").textContent(), /^live, heard at/);
  assert.match(await opened.locator(".notes").textContent(), /^c: .*is not JSON.*what was read before is shown$/);
  errors.forEach((text) => assert.match(text, /ERR_CONNECTION_REFUSED/));
  await opened.evaluate(() => scrollTo(0, 0));
  await opened.screenshot({ path: join(out, `live-${scheme}.png`), fullPage: true });
  await opened.setViewportSize({ width: 390, height: 800 });
  await opened.waitForTimeout(300);
  const wide = await opened.evaluate(() => document.documentElement.scrollWidth);
  assert(wide <= 390, `${wide} pixels wide on a phone`);
  await opened.screenshot({ path: join(out, `live-${scheme}-phone.png`) });
  await end(server, "SIGTERM");
  console.log(`live, ${scheme}: choices stay, a server is missed and found again`);
}

// The values that the legend of a chart shows at the middle of it are those of one point of each run.
async function hover(opened, which, column, list) {
  const over = opened.locator(".u-over").nth(which);
  await over.scrollIntoViewIfNeeded();
  const box = await over.boundingBox();
  await opened.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  return opened.evaluate(([which, column, list]) => {
    const plot = charts[which].plot;
    const at = plot.data[0][plot.cursor.idx];
    const shown = [...plot.root.querySelectorAll(".u-legend .u-series")].slice(1).map((row) => row.querySelector(".u-value").textContent);
    const logged = runs.map((run) => {
      const points = list ? run.sets[list] : run.loss;
      const i = points.tokens.indexOf(at);
      return i < 0 ? "–" : number(points[column][i]);
    });
    return { at, shown, logged };
  }, [which, column, list]);
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
for (const [count, steps, scheme] of [[3, 300, "light"], [3, 300, "dark"], [10, 100000, "light"]]) {
  const { opened, errors, seconds, file } = await page(browser, count, steps, scheme);
  const drawn = await opened.evaluate(() => [...document.querySelectorAll(".uplot canvas")].map((canvas) => {
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
  }));
  assert.equal(drawn.length, 5, "two sets, rates, loss, norm");
  assert(drawn.every((colors) => colors > 5), `every chart is drawn: ${drawn}`);
  const { at, shown, logged } = await hover(opened, 0, "loss", "new");
  assert(at > 0 && shown.length === count && shown.some((text) => text !== "–"), `${at} ${shown}`);
  shown.forEach((text, i) => assert(text === "–" || text === logged[i], `${text} is shown, ${logged[i]} was logged`));
  // Every control, and a zoom that all charts follow.
  const timed = await opened.evaluate(() => {
    const spent = [];
    const time = (act) => { const begun = performance.now(); act(); spent.push(performance.now() - begun); };
    const first = charts[0].plot;
    time(() => first.setCursor({ left: 200, top: 50 }));
    time(() => first.setScale("x", { min: first.data[0][0], max: first.data[0][Math.floor(first.data[0].length / 2)] }));
    return { spent, zoomed: charts.every((chart) => chart.plot.scales.x.max === first.scales.x.max) };
  });
  assert(timed.zoomed, "all charts follow a zoom");
  for (const x of ["step", "time", "flops", "tokens"]) await opened.selectOption(".bar select", x);
  await opened.check(".bar input[type=checkbox]");
  await opened.locator(".bar input[type=range]").first().fill("0.9");
  await opened.locator("table.grid").first().locator("thead th").nth(3).click();
  const cells = await opened.locator("table.grid").first().locator("tbody td:nth-child(4)").allTextContents();
  assert.deepEqual(cells.map(Number), cells.map(Number).sort((a, b) => a - b), "sorted by a click");
  assert.equal(await opened.locator("svg circle").count(), count - 1, "a point for each run that started from a model");
  await opened.screenshot({ path: join(out, `report-${count}-${scheme}.png`), fullPage: true });
  await opened.setViewportSize({ width: 390, height: 800 });
  await opened.waitForTimeout(200);
  const wide = await opened.evaluate(() => document.documentElement.scrollWidth);
  assert(wide <= 390, `${wide} pixels wide on a phone`);
  await opened.screenshot({ path: join(out, `report-${count}-${scheme}-phone.png`) });
  assert.deepEqual(errors, []);
  const size = readFileSync(file).length;
  const slowest = Math.max(...timed.spent);
  console.log(`${count} runs of ${steps} steps, ${scheme}: ${size} bytes, open in ${seconds.toFixed(2)} s, hover and zoom ${slowest.toFixed(0)} ms at most`);
  assert(size <= 5e6 && seconds < 2 && slowest < 50, "small and quick");
}
for (const scheme of ["light", "dark"]) await live(browser, scheme);
await browser.close();
