// The player, its timeline and the files that are dropped on the page. Everything listens on the document, because the
// page draws its parts anew whenever they change.
(() => {
  "use strict";
  if (window.timechatPlayer) return;
  window.timechatPlayer = true;

  let until = null;      // where the segment that is played ends
  let wanted = null;     // where the last press led; a seek to elsewhere is the visitor's own

  const video = () => document.querySelector("video.tc-video");
  const say = (words) => {
    const status = document.querySelector(".tc-status");
    if (status) status.textContent = words;
  };

  // To Python. What is opened has to be read first, which takes a while.
  function tell(detail) {
    if (detail.action === "open") say("Reading the video …");
    document.dispatchEvent(new CustomEvent("timechat", { detail }));
  }

  // One connection says that the page is there, and it may break; these signs of life go on.
  setInterval(() => {
    const stage = document.querySelector("[data-here]");
    if (stage) fetch(stage.dataset.here, { method: "POST" }).catch(() => {});
  }, 60000);

  // Segments ----------------------------------------------------------------------------------------------------------

  function play(start, end) {
    const player = video();
    if (!player) return;
    until = Number.isFinite(end) ? end : null;
    wanted = start;
    player.currentTime = start;
    if (until !== null) player.play().catch(() => {});
    player.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  function mark(player) {
    const now = player.currentTime;
    for (const line of document.querySelectorAll(".tc-timeline")) {
      const length = Number(line.dataset.duration);
      line.style.setProperty("--now", `${Math.min(100, (100 * now) / length)}%`);
    }
    for (const part of document.querySelectorAll("[data-start][data-end]")) {
      const inside = now >= Number(part.dataset.start) - 0.01 && now < Number(part.dataset.end);
      part.classList.toggle("tc-now", inside);
      if (inside) part.setAttribute("aria-current", "time");
      else part.removeAttribute("aria-current");
    }
  }

  // Events of media do not rise; they are caught on their way down.
  document.addEventListener("timeupdate", (event) => {
    const player = event.target;
    if (!player.matches("video.tc-video")) return;
    if (until !== null && player.currentTime >= until) {
      player.pause();
      until = null;
    }
    mark(player);
  }, true);
  document.addEventListener("seeking", (event) => {
    if (event.target.matches("video.tc-video") && Math.abs(event.target.currentTime - wanted) > 0.5) until = null;
  }, true);
  document.addEventListener("loadedmetadata", (event) => {
    const player = event.target;
    if (!player.matches("video.tc-video") || !player.videoHeight) return;
    document.documentElement.style.setProperty("--tc-ratio", player.videoWidth / player.videoHeight);
  }, true);
  document.addEventListener("error", (event) => {
    if (!(event.target instanceof Element) || !event.target.matches("video.tc-video")) return;
    const words = document.querySelector(".tc-unplayable");
    if (words) words.hidden = false;
  }, true);

  // Presses -----------------------------------------------------------------------------------------------------------

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    const part = event.target.closest("[data-start]");
    const act = event.target.closest("button[data-action]");
    const save = event.target.closest("a[data-save]");
    if (part) play(Number(part.dataset.start), Number(part.dataset.end));
    if (act) tell({ action: act.dataset.action, token: act.dataset.token || "", text: act.dataset.text || "" });
    if (save) {
      event.preventDefault();
      keep(save);
    }
  });

  // A download that fails would only open another page.
  async function keep(link) {
    if (link.getAttribute("aria-busy") === "true") return;
    link.setAttribute("aria-busy", "true");
    try {
      const reply = await fetch(link.href);
      if (!reply.ok) throw new Error(await problem(reply));
      const name = /filename\*=UTF-8''([^;]+)/.exec(reply.headers.get("content-disposition") || "");
      const saved = document.createElement("a");
      saved.href = URL.createObjectURL(await reply.blob());
      saved.download = name ? decodeURIComponent(name[1]) : "answer";
      saved.click();
      setTimeout(() => URL.revokeObjectURL(saved.href), 60000);
    } catch (error) {
      tell({ action: "problem", text: error.message });
    } finally {
      link.removeAttribute("aria-busy");
    }
  }

  async function problem(reply) {
    try {
      return (await reply.json()).problem;
    } catch {
      return `The server answered with ${reply.status}.`;
    }
  }

  // Files -------------------------------------------------------------------------------------------------------------

  function send(file, input) {
    const limit = Number(input.dataset.limit);
    const size = (bytes) => `${Math.max(1, Math.round(bytes / 1048576))} MB`;
    if (limit && file.size > limit) {
      tell({ action: "problem", text: `${file.name} has ${size(file.size)}; this page takes up to ${size(limit)}.` });
      return;
    }
    const bar = input.parentElement.parentElement.querySelector(".tc-progress") || document.createElement("progress");
    const request = new XMLHttpRequest();
    request.open("POST", `timechat/upload?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("x-timechat", "1");
    request.responseType = "json";
    request.upload.onprogress = (step) => {
      bar.hidden = false;
      bar.value = step.loaded / Math.max(1, step.total);
      say("Sending the file …");
    };
    request.onloadend = () => {
      bar.hidden = true;
      say("");
      input.value = "";
      if (request.status === 200) tell({ action: input.dataset.action, token: request.response.token, text: "" });
      else tell({ action: "problem", text: request.response?.problem || "The file could not be sent." });
    };
    request.send(file);
  }

  document.addEventListener("change", (event) => {
    const input = event.target;
    if (input instanceof HTMLInputElement && input.classList.contains("tc-file") && input.files.length) {
      send(input.files[0], input);
    }
  });
  const over = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    document.documentElement.classList.add("tc-dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.documentElement.classList.remove("tc-dragging");
  });
  document.addEventListener("drop", (event) => {
    if (!over(event)) return;
    event.preventDefault();
    document.documentElement.classList.remove("tc-dragging");
    const input = document.querySelector('.tc-file[data-action="open"]');
    if (input && event.dataTransfer.files.length) send(event.dataTransfer.files[0], input);
  });

  // Screen readers get an answer when it is whole: the conversation is drawn anew with every few words.
  let writing = false;
  function speak() {
    const busy = document.querySelector(".tc-busy") !== null;
    const spoken = document.querySelector(".tc-spoken");
    if (writing && !busy && spoken) {
      spoken.textContent = [...document.querySelectorAll(".tc-said, .tc-log .tc-alert")].pop()?.innerText || "";
    }
    writing = busy;
  }

  // The newest words stay in sight, unless the visitor has scrolled up.
  let near = true;
  document.addEventListener("scroll", (event) => {
    const box = event.target;
    if (box instanceof Element && box.id === "tc-talk") near = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  }, true);
  new MutationObserver((changes) => {
    const box = document.getElementById("tc-talk");
    if (box && near) box.scrollTop = box.scrollHeight;
    speak();
    const within = (id) => changes.some((change) => document.getElementById(id)?.contains(change.target));
    if (within("tc-player") || within("tc-alert")) say("");
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });
})();
