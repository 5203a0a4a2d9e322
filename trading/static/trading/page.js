/** The trading page: the ticket, the orders, and the connection that keeps them up to date. */

import { connect } from "../orders/live.js";
import { News } from "./news.js";
import { OrderList } from "./orders.js";
import { Ticket } from "./ticket.js";

const CONNECTION = {
  connected: "Live",
  lost: "Connection lost. Connecting again; nothing will be missed.",
  ended: "No longer live. Reload the page.",
};

const { account, liveEventsUrl } = document.querySelector("main").dataset;
const connection = document.getElementById("connection");
const orders = new OrderList();
const ticket = new Ticket(orders);
const news = new News();

connect(liveEventsUrl, {
  onEvent(message) {
    // Staff receive the events of all accounts.
    if (message.account !== account) return;
    orders.apply(message);
    ticket.recognise(message.client_order_id);
    news.add(message);
  },
  onState: showState,
  onMissed(hello) {
    if (hello.account === account) orders.read();
    else showState("ended", `You have since signed in as ${hello.account}.`);
  },
});

function showState(state, reason) {
  connection.textContent = state === "ended" ? `${CONNECTION.ended} ${reason}` : CONNECTION[state];
  connection.dataset.state = state;
}
