-- Run once, on an empty volume. Tables are not made here: the services bring their schemas up to date at every start.
-- Each service reaches its own database only. The passwords are no secrets: the port is published on loopback.
CREATE DATABASE inventory CHARACTER SET utf8mb4;
CREATE DATABASE orders CHARACTER SET utf8mb4;
CREATE DATABASE wallet CHARACTER SET utf8mb4;
CREATE USER inventory@'%' IDENTIFIED BY 'inventory';
CREATE USER orders@'%' IDENTIFIED BY 'orders';
CREATE USER wallet@'%' IDENTIFIED BY 'wallet';
GRANT ALL ON inventory.* TO inventory@'%';
GRANT ALL ON orders.* TO orders@'%';
GRANT ALL ON wallet.* TO wallet@'%';
-- Lessons, exercises and comparisons create databases of these names, and drop them.
CREATE USER lab@'%' IDENTIFIED BY 'lab';
GRANT ALL ON `lesson\_%`.* TO lab@'%';
GRANT ALL ON `holdfast\_compare\_%`.* TO lab@'%';
-- So does the conformance suite, through which exercise 10 sends a strategy.
GRANT ALL ON `test\_%`.* TO lab@'%';
-- Lessons show which session waits for whose lock.
GRANT PROCESS ON *.* TO lab@'%';
GRANT SELECT ON performance_schema.* TO lab@'%';
-- The flow xa, and its lesson, find the branches that a crash has left prepared. The privilege is global.
GRANT XA_RECOVER_ADMIN ON *.* TO inventory@'%', orders@'%', lab@'%';
