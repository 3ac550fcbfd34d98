-- Run by the postgres image when its volume is empty, and by hand where a new version brings a database: a role and a
-- database of its own for each server, and for the worker's ledger. What is there already stays as it is.
\getenv mlflow_password MLFLOW_PASSWORD
\getenv prefect_password PREFECT_PASSWORD
\getenv ledger_password LEDGER_PASSWORD

SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', name, password)
FROM (
    VALUES ('mlflow', :'mlflow_password'), ('prefect', :'prefect_password'), ('ledger', :'ledger_password')
) AS wanted (name, password)
WHERE name NOT IN (SELECT rolname FROM pg_roles) \gexec

SELECT format('CREATE DATABASE %I OWNER %1$I', name)
FROM (VALUES ('mlflow'), ('prefect'), ('ledger')) AS wanted (name)
WHERE name NOT IN (SELECT datname FROM pg_database) \gexec

REVOKE CONNECT, TEMPORARY ON DATABASE mlflow, prefect, ledger FROM PUBLIC;
