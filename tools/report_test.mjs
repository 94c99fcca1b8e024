// What a browser makes of `rewarm report`: no script error, every curve there, values on hover those of the log, and quick.
// Usage: tools/report_test.sh, which brings what this needs; or node tools/report_test.mjs REWARM PLAYWRIGHT OUTDIR.
import { createRequire } from "node:module";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import assert from "node:assert";

const [rewarm, playwright, out] = process.argv.slice(2).map((path) => resolve(path));
const { chromium } = createRequire(join(playwright, "package.json"))("playwright-core");

// A run of `steps` steps with two validation sets, of which one is forgotten and one learned.
function run(name, seed, steps) {
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
  mkdirSync(join(out, name), { recursive: true });
  writeFileSync(join(out, name, "metrics.jsonl"), lines.join("\n") + "\n");
  const role = (set, of) => `[[data.validation]]\nname = "${set}"\nrole = "${of}"\n`;
  writeFileSync(join(out, name, "config.toml"), `seed = ${seed}\n${role("old", "retain")}${role("new", "learn")}`);
}

// Made of `count` runs, opened in this colour scheme.
async function page(browser, count, steps, scheme) {
  const names = [...Array(count).keys()].map((i) => `run-${i}-of-${count}`);
  names.forEach((name, i) => run(name, i, steps));
  const file = join(out, `report-${count}.html`);
  execFileSync(rewarm, ["report", ...names, "-o", file], { cwd: out, stdio: ["ignore", "ignore", "inherit"] });
  const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1280, height: 900 } });
  const opened = await context.newPage();
  const errors = [];
  opened.on("pageerror", (error) => errors.push(String(error)));
  opened.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  opened.on("request", (request) => request.url().startsWith("file:") || errors.push(`asks for ${request.url()}`));
  const started = performance.now();
  await opened.goto(pathToFileURL(file).href);
  await opened.waitForFunction(() => document.documentElement.dataset.charts);
  const seconds = (performance.now() - started) / 1000;
  return { opened, errors, seconds, file };
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
  assert.equal(await opened.locator("svg circle").count(), count, "a point for each run");
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
await browser.close();
