// The parts of the page: one is shown at a time, the one that the address names. Without this script all are shown.
const parts = [...document.querySelectorAll(".part")];
const shownLater = []; // called with the name of a part that is shown: plots need its width

function showPart(name) {
  for (const part of parts) part.hidden = part.dataset.part !== name;
  for (const link of document.querySelectorAll("nav.parts a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  for (const draw of shownLater) draw(name);
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  showPart(target?.closest(".part")?.dataset.part || parts[0].dataset.part);
  if (target instanceof HTMLDetailsElement) target.open = true;
  if (target) target.scrollIntoView();
}
window.addEventListener("hashchange", openTarget);
if (parts.length) showPart(parts[0].dataset.part);
