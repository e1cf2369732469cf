# Headroom in a container. docs/hosting.md says how it is run; scripts/container.py runs these steps without an engine.
FROM python:3.11-slim
WORKDIR /headroom
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -c constraints.txt
COPY streamlit_app.py room_app.py ./
COPY .streamlit .streamlit
COPY app app
COPY assets assets
COPY pages pages
COPY peftcore peftcore
COPY scripts/own_names.py scripts/
RUN useradd --create-home headroom && mkdir /data && chown headroom /data
USER headroom
# Runs, uploads, features and downloaded weights: a volume, so that they outlive the container.
ENV HEADROOM_HOME=/data HOME=/home/headroom PYTHONUNBUFFERED=1
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8501/_stcore/health')"
# NAMES: the names by which people reach it, such as headroom.example. exec: the signal that ends it reaches the app.
CMD exec streamlit run room_app.py --server.address 0.0.0.0 --server.headless true $(python scripts/own_names.py 0.0.0.0 $NAMES)
