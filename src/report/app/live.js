// Asks for the story again while somebody looks, and says when that was answered last, or since when it is not.
const ASK_EVERY = 2000;
const heard = element("span", "", bar);
heard.className = "heard";
let tag = data.dataset.tag;
let lastHeard = new Date();
// `held`: a mouse button or finger is down, and what is dragged is not to be taken away under it.
let [asking, held, waiting] = [false, false, 0];

// The story and its tag where there is another one.
async function ask() {
  const answer = await fetch("/story.json", { headers: { "If-None-Match": tag }, cache: "no-store", signal: AbortSignal.timeout(30000) });
  if (answer.status === 304) return null;
  if (!answer.ok) throw new Error(await answer.text());
  return { story: await answer.json(), tag: answer.headers.get("ETag") };
}

async function follow() {
  clearTimeout(waiting);
  if (document.hidden || asking) return;
  asking = true;
  let next = null;
  try {
    next = await ask();
    lastHeard = new Date();
    heard.textContent = `live, heard at ${lastHeard.toLocaleTimeString()}`;
    heard.classList.remove("lost");
  } catch (error) {
    heard.textContent = `not connected since ${lastHeard.toLocaleTimeString()}`;
    heard.title = String(error);
    heard.classList.add("lost");
  }
  asking = false;
  waiting = setTimeout(follow, ASK_EVERY);
  if (next && !held) {
    tag = next.tag;
    show(next.story);
  }
}

addEventListener("pointerdown", () => (held = true), true);
for (const end of ["pointerup", "pointercancel", "blur"]) addEventListener(end, () => (held = false), true);
document.addEventListener("visibilitychange", follow);
follow();
