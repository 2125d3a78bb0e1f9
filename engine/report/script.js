// The layer of each example: the slider uncovers it, the buttons choose it.
for (const example of document.querySelectorAll(".example")) {
  const compare = example.querySelector(".compare");
  const slider = compare.querySelector("input");
  const layer = compare.querySelector(".over-layer img");
  const buttons = example.querySelectorAll("button");
  const uncover = () => compare.style.setProperty("--at", slider.value + "%");
  const choose = (button) => {
    for (const other of buttons) other.setAttribute("aria-pressed", other === button);
    layer.src = button.querySelector("img").src;
    compare.dataset.kind = button.dataset.kind;
  };
  slider.addEventListener("input", uncover);
  for (const button of buttons) button.addEventListener("click", () => choose(button));
  choose(buttons[0]);
  uncover();
}
// Paper cannot be unfolded.
const folded = () => document.querySelectorAll("details:not([open])");
let opened = [];
addEventListener("beforeprint", () => { opened = [...folded()]; opened.forEach((each) => { each.open = true; }); });
addEventListener("afterprint", () => opened.forEach((each) => { each.open = false; }));
