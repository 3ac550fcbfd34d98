-- Run once by the postgres image, when its volume is empty: a role and a database of its own for each server.
\getenv mlflow_password MLFLOW_PASSWORD
\getenv prefect_password PREFECT_PASSWORD

CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE mlflow OWNER mlflow;
REVOKE CONNECT, TEMPORARY ON DATABASE mlflow FROM PUBLIC;

CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
CREATE DATABASE prefect OWNER prefect;
REVOKE CONNECT, TEMPORARY ON DATABASE prefect FROM PUBLIC;
