
const [task, verdict] = ["task", "verdict"].map((id) => document.getElementById(id));
function show() {
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const figure of section.querySelectorAll("figure")) {
      figure.hidden = verdict.value !== "" && figure.className !== verdict.value;
      any ||= !figure.hidden;
    }
    section.hidden = !any || (task.value !== "" && section.dataset.task !== task.value);
  }
}
task.onchange = verdict.onchange = show;
show();
