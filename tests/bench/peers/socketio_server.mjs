// The pair chat's server in Socket.IO: as its documentation writes one, with nothing around it.
// usage: node socketio_server.mjs PORT
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"] });
io.on("connection", (socket) => {
  socket.on("login", (name, done) => {
    socket.join(name);
    done();
  });
  socket.on("message", (message, done) => {
    io.to(message.to).emit("message", message);
    done();
  });
  socket.on("receipt", (receipt) => io.to(receipt.to).emit("receipt", receipt));
});
http.listen(Number(process.argv[2]), "127.0.0.1");
