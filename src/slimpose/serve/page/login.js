const problem = document.getElementById("problem");

async function logIn(token) {
  const answer = await fetch("/login", { method: "POST", body: JSON.stringify({ token }) });
  if (answer.ok) location.replace("/");
  else problem.textContent = (await answer.json()).error;
}

document.getElementById("login").addEventListener("submit", (event) => {
  event.preventDefault();
  problem.textContent = "";
  logIn(document.getElementById("token").value.trim()).catch(() => {
    problem.textContent = "The server does not answer.";
  });
});
