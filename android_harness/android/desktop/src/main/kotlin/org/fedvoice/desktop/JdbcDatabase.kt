package org.fedvoice.desktop

import org.fedvoice.core.store.Database
import org.fedvoice.core.store.DatabaseFailure
import org.fedvoice.core.store.Statements
import org.sqlite.SQLiteConfig
import org.sqlite.SQLiteErrorCode
import org.sqlite.SQLiteException
import java.io.File
import java.sql.Connection
import java.sql.PreparedStatement
import java.sql.SQLException

/**
 * SQLite through JDBC. A connection is opened for each transaction, so that a store costs nothing
 * while it is not used and hundreds of emulated phones can have one each.
 */
class JdbcDatabase(file: File) : Database {
    private val url = "jdbc:sqlite:${file.absolutePath}"
    private val config =
        SQLiteConfig().apply {
            enforceForeignKeys(true)
            busyTimeout = BUSY_MILLIS
            setTransactionMode(SQLiteConfig.TransactionMode.IMMEDIATE)
        }

    override val where: String = file.path

    init {
        file.absoluteFile.parentFile.mkdirs()
    }

    override fun <T> transaction(work: (Statements) -> T): T =
        connected { connection ->
            connection.autoCommit = false
            var done = false
            try {
                work(JdbcStatements(connection)).also {
                    connection.commit()
                    done = true
                }
            } finally {
                if (!done) connection.rollback()
            }
        }

    override fun execute(sql: String) {
        connected { connection -> connection.createStatement().use { it.execute(sql) } }
    }

    private fun <T> connected(work: (Connection) -> T): T =
        try {
            config.createConnection(url).use { connection ->
                connection.createStatement().use { it.execute("PRAGMA secure_delete = ON") }
                work(connection)
            }
        } catch (error: SQLException) {
            val full = (error as? SQLiteException)?.resultCode == SQLiteErrorCode.SQLITE_FULL
            throw DatabaseFailure(full, error.message.orEmpty(), error)
        }

    private companion object {
        const val BUSY_MILLIS = 30_000
    }
}

private class JdbcStatements(private val connection: Connection) : Statements {
    override fun execute(sql: String, vararg values: Any?) {
        prepared(sql, values).use { it.executeUpdate() }
    }

    override fun query(sql: String, vararg values: Any?): List<List<Any?>> =
        prepared(sql, values).use { statement ->
            statement.executeQuery().use { rows ->
                val columns = 1..rows.metaData.columnCount
                buildList {
                    while (rows.next()) add(columns.map { wide(rows.getObject(it)) })
                }
            }
        }

    private fun prepared(sql: String, values: Array<out Any?>): PreparedStatement {
        val statement = connection.prepareStatement(sql)
        values.forEachIndexed { i, value -> statement.setObject(i + 1, value) }
        return statement
    }

    private fun wide(value: Any?): Any? = if (value is Int) value.toLong() else value
}
