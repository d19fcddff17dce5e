// Reports that the page did not start. Not a module, because browsers load no modules from a page opened as a file.

addEventListener(
  "error",
  ({ target }) => {
    if (target?.tagName !== "SCRIPT") return;
    const message = document.getElementById("message");
    message.textContent = "The page did not start: open it from a web server that has all of its files, as emorl explore does.";
    message.hidden = false;
    document.getElementById("about").textContent = "";
  },
  true, // errors of loading do not bubble
);
