
const [task, verdict] = ["task", "verdict"].map((id) => document.getElementById(id));
function show() {
  const wanted = verdict?.value ?? ""; // graded images are neither right nor wrong
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const figure of section.querySelectorAll("figure")) {
      figure.hidden = wanted !== "" && figure.className !== wanted;
      any ||= !figure.hidden;
    }
    section.hidden = !any || (task.value !== "" && section.dataset.task !== task.value);
  }
}
task.onchange = show;
if (verdict) verdict.onchange = show;
show();
